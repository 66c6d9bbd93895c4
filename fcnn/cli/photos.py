"""`fcnn train PHOTOS`: a folder instead of a preset. What was chosen and why before training, what to do next after."""

import shlex
from pathlib import Path
from typing import Any

from fcnn.config import Config, DataConfig, TransferConfig
from fcnn.config.serialize import options as options_of
from fcnn.utils.errors import UserError

BEFORE = Config(
    data=DataConfig(name="folder:PHOTOS"), transfer=TransferConfig(weights="cifar10_resnet20", strategy="auto")
)
"""What options are checked against before anything is chosen."""


def folder_of(args: list[str]) -> Path | None:
    """The folder that the arguments of `fcnn train` begin with; None if they begin with something else.

    Raises:
      UserError: it's a file, and no preset either.
    """
    if not args or args[0].startswith("-"):
        return None
    path = Path(args[0]).expanduser()
    if path.is_file() and path.suffix != ".py":
        from fcnn.data.layout import no_folder

        raise UserError(no_folder(path))
    return path if path.is_dir() else None


def config_for(photos: Path, options: Config, workdir: Path | None, named: frozenset[str], *, stderr: bool) -> Config:
    """Returns the config of the run in `workdir`, or a new one for the folder, and logs the reasons for it.

    Args:
      options: BEFORE, with what the options changed.
      workdir: the run's folder, if it was named.
      named: the fields that the options name.

    Raises:
      UserError: it isn't a folder of images by class, or the options name other data.
    """
    from fcnn.report import Console
    from fcnn.runtime.ready import get_ready
    from fcnn.training import workdir as folder
    from fcnn.transfer import photos as chosen

    if "data.name" in named:
        raise UserError(f"the folder {photos} is the data; leave --data.name {options.data.name} out")
    if workdir is not None and (workdir / folder.CONFIG).exists():
        config = folder.read_config(workdir)
        if config.data.name != f"folder:{photos.resolve()}":
            raise UserError(f"{workdir} holds a run on {config.data.name}; take another --workdir")
        return config
    get_ready()
    console = Console(stderr=stderr)
    console.log(f"Looking at {photos} ...")
    suggestion = chosen.configure(photos, options, named, log=console.log, progress=console.progress)
    for reason in suggestion.reasons:
        console.log(reason)
    words = shlex.join(options_of(Config(), suggestion.config))
    console.log(f"The config, as options (stored in the run's {folder.CONFIG}):\n  {words}")
    train = suggestion.config.train
    length = f"{train.epochs:g} epochs" if train.steps is None else f"{train.steps:,} steps"
    minutes = (
        f"{suggestion.seconds / 60:.0f} minutes" if suggestion.seconds > 90 else f"{suggestion.seconds:.0f} seconds"
    )
    console.log(f"{length} in batches of {train.batch_size}: about {minutes}.\n")
    return suggestion.config


def leave_model(workdir: Path, console: Any) -> None:
    """Writes the network beside the report, and logs the command that uses it."""
    from fcnn.training.pretrained import load_network
    from fcnn.weights import write_network

    out = workdir / "model.safetensors"
    write_network(out, load_network(str(workdir)))
    console.log(f"The report is {workdir / 'report.html'}, the model {out}. To classify images:")
    console.log(f"  fcnn predict {shlex.quote(str(out))} IMAGE...")
