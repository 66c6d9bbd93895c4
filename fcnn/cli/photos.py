"""`fcnn train PHOTOS`: a folder instead of a preset. What was chosen and why before training, what to do next after."""

import shlex
import time
from pathlib import Path
from typing import Any

from fcnn.cli.train_args import TrainArgs
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


def config_for(photos: Path, args: TrainArgs, named: frozenset[str], began: float) -> tuple[Config, Any]:
    """Returns the config of the run in `args.workdir`, and None, or a new one for the folder and the
    `fcnn.transfer.photos.Suggestion` that it is from; logs the reasons for it.

    Args:
      args: with the config that options made of BEFORE.
      named: the fields that the options name.
      began: when the command did, by `time.perf_counter`.

    Raises:
      UserError: it isn't a folder of images by class, or the options name other data or don't go together.
    """
    from fcnn.report import Console
    from fcnn.runtime.ready import get_ready
    from fcnn.training import workdir as folder
    from fcnn.transfer import photos as chosen
    from fcnn.transfer.earlier import options_from
    from fcnn.transfer.timing import duration

    options = args.config
    if "data.name" in named:
        raise UserError(f"the folder {photos} is the data; leave --data.name {options.data.name} out")
    minutes = chosen.MINUTES if args.minutes is None else args.minutes
    if not 0 < minutes < 1e6:
        raise UserError(f"--minutes must be above 0, got {minutes:g}")
    if args.minutes is not None and (length := sorted({"train.epochs", "train.steps"} & named)):
        raise UserError(f"--minutes has no effect with --{length[0]}; leave one of them out")
    runs = [] if args.workdir is None else [args.workdir, *sorted(args.workdir.glob("seed-*"))]
    if (begun := next((run for run in runs if (run / folder.CONFIG).exists()), None)) is not None:
        return _config_in(begun, photos, args.from_), None
    if args.from_ is not None:
        options, named = options_from(args.from_.expanduser(), options, named)
    get_ready()
    console = Console(stderr=args.json)
    console.log(f"Looking at {photos} ...")
    suggestion = chosen.configure(
        photos, options, named, minutes=minutes, began=began, log=console.log, progress=console.progress
    )
    words = shlex.join(options_of(Config(), suggestion.config))
    console.log(f"The config, as options (stored in the run's {folder.CONFIG}):\n  {words}")
    train = suggestion.config.train
    length = f"{train.epochs:g} epochs" if train.steps is None else f"{train.steps:,} steps"
    length += f" in batches of {train.batch_size}"
    if suggestion.config.transfer.strategy == "pretrained":
        length = "Nothing is left to train"
    over = duration(time.perf_counter() - began)
    console.log(f"{length}: about {duration(suggestion.seconds)} in all, of which {over} have passed.\n")
    return suggestion.config, suggestion


def _config_in(workdir: Path, photos: Path, earlier: Path | None) -> Config:
    """Returns the config of a run that is to be continued; UserError if it is another one."""
    from fcnn.training import workdir as folder

    config = folder.read_config(workdir)
    if config.data.name != f"folder:{photos.resolve()}":
        raise UserError(f"{workdir} holds a run on {config.data.name}; take another --workdir")
    if earlier is not None and config.data.splits != str((earlier.expanduser() / folder.SPLITS).resolve()):
        raise UserError(f"{workdir} holds a run that isn't from {earlier}; take another --workdir")
    return config


def leave_model(workdir: Path, suggestion: Any, began: float, *, stderr: bool) -> None:
    """Writes the network beside the report, and logs the command that uses it and how long everything took."""
    from fcnn.distributed import processes
    from fcnn.report import Console
    from fcnn.training.pretrained import load_network
    from fcnn.transfer.timing import duration
    from fcnn.weights import write_network

    if not processes.is_first():
        return
    out, console = workdir / "model.safetensors", Console(stderr=stderr)
    write_network(out, load_network(str(workdir)))
    if suggestion is not None:
        seconds = time.perf_counter() - began
        console.log(f"It took {duration(seconds)}; {duration(suggestion.seconds)} were expected.")
    console.log(f"The report is {workdir / 'report.html'}, the model {out}. To classify images:")
    console.log(f"  fcnn predict {shlex.quote(str(out))} IMAGE...")
