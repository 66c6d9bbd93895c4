"""`calibration.json` in a run's folder: what makes the probabilities of its network mean something."""

import json
from collections.abc import Callable
from pathlib import Path

from fcnn.calibration import Calibration
from fcnn.config.serialize import build
from fcnn.utils.errors import UserError
from fcnn.utils.json_file import read_json

FILE = "calibration.json"


def read_split(workdir: Path) -> str | None:
    """Returns the split that a run's calibration was fitted to, "train" (by cross-validation) or "validation"; None if
    that isn't known."""
    try:
        values = read_json(workdir / FILE)
    except UserError:
        return None
    return values.get("split") if isinstance(values, dict) else None


def read_calibration(
    workdir: Path, step: int, weights: str | None, num_classes: int, log: Callable[[str], None]
) -> Calibration:
    """Returns the calibration of the weights of a step of a run; one that knows nothing if they have none.

    Args:
      log: gets a sentence if the file is damaged: the run is used without it.
    """
    path = workdir / FILE
    if not path.is_file():
        return Calibration()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if (values["step"], values["weights"]) != (step, weights or "raw"):  # of the shorter run that this one was
            return Calibration()
        calibration = build(Calibration, values["calibration"], "calibration.")
        calibration.means(num_classes)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        log(f"{path} is damaged ({error}): probabilities are not calibrated")
        return Calibration()
    return calibration
