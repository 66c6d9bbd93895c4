"""`--config FILE.py` of commands that look at a trained network: the code of a model or data set of the user's own."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.config.presets import read_preset
from fcnn.utils.errors import UserError

PresetFile = Annotated[str | None, tyro.conf.arg(name="config", metavar="FILE.py")]
"""The preset of a run that was trained with a model or data set of the user's own: code comes from the command line,
never from a run's folder."""


def own_parts(preset: str | None, network: str) -> Any:
    """Returns what a preset file defines (`fcnn.training.custom.Custom`) for the config of the run in a folder, or its
    own where `network` is a file; nothing without a preset.

    Raises:
      UserError: it defines neither a model nor a data set.
    """
    from fcnn.training.custom import Custom
    from fcnn.training.workdir import read_config

    if preset is None:
        return Custom()
    defined = read_preset(preset)
    if not {"model", "dataset"} & set(defined.hooks):
        raise UserError(f"{preset} defines neither model(config) nor dataset(config)")
    folder = Path(network).expanduser()
    config = read_config(folder) if folder.is_dir() else defined.config
    return Custom(model=defined.call("model", config), dataset=defined.call("dataset", config))
