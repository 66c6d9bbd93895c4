"""`calibration.json` in a run's folder: what makes the probabilities of its network mean something."""

import json
from pathlib import Path

from fcnn.calibration import Calibration
from fcnn.config.serialize import build
from fcnn.utils.errors import UserError

FILE = "calibration.json"


def read_calibration(workdir: Path, step: int, weights: str | None) -> Calibration:
    """Returns the calibration of the weights of a step of a run; one that knows nothing if they have none.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / FILE
    if not path.is_file():
        return Calibration()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if (values["step"], values["weights"]) != (step, weights or "raw"):  # of the shorter run that this one was
            return Calibration()
        return build(Calibration, values["calibration"], "calibration.")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
