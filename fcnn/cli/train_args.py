"""The options of `fcnn train` beside those of the config, and what they refuse."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated

import tyro

from fcnn.cli.parse import PresetArgs
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArgs(PresetArgs):
    """Train a network from a preset: fcnn train --config resnet; or fine-tune one on a folder of images, with
    options chosen for you: fcnn train PHOTOS. Run the command again with the same --workdir to resume from the newest
    checkpoint."""

    workdir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the run; runs/PRESET-001, runs/PRESET-002, ... by default."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="M")] = None
    """With PHOTOS: time budget in minutes, including the check of the images; sets the number of epochs. 5 by
    default."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from", metavar="RUN")] = None
    """With PHOTOS, after images were added or changed: folder of an earlier, finished run to continue from. Its
    network, image size and splits are kept."""
    seeds: Annotated[str | None, tyro.conf.arg(metavar="N,N,...")] = None
    """Repeat the run with each of these seeds and report the mean and standard deviation of the test accuracy."""
    distributed: bool = False
    """Train in several processes, each started with this command: on Slurm, Open MPI or a TPU pod, or with the next
    three options. --workdir must be on a disk that all of them can access."""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Address of process 0, with a free port; only needed outside Slurm, Open MPI and TPU pods."""
    num_processes: int | None = None
    """Number of processes; requires --coordinator."""
    process_id: int | None = None
    """Index of this process, from 0; requires --coordinator."""
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


def check_distributed(args: TrainArgs) -> None:
    """UserError unless the options of `--distributed` fit together."""
    addresses = {
        "--coordinator": args.coordinator,
        "--num-processes": args.num_processes,
        "--process-id": args.process_id,
    }
    here = [name for name, value in addresses.items() if value is not None]
    if here and not args.distributed:
        raise UserError(f"{here[0]} has no effect without --distributed")
    if 0 < len(here) < len(addresses):
        raise UserError(f"{', '.join(addresses)} go together; {', '.join(addresses.keys() - here)} is missing")
    if args.distributed and args.workdir is None:
        raise UserError("--distributed needs --workdir DIR, on a disk that all processes see")
    count, index = args.num_processes, args.process_id
    if count is not None and index is not None and not 0 <= index < count:
        raise UserError(f"--process-id must be from 0 to {count - 1} with --num-processes {count}, got {index}")
    if args.coordinator is not None and not re.fullmatch(r".+:\d+", args.coordinator):
        raise UserError(f"--coordinator must look like HOST:PORT, got {args.coordinator!r}")


def parse_seeds(text: str | None) -> list[int] | None:
    """Returns the seeds of "0,1,2"."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UserError(f"--seeds must be whole numbers with commas between them, like 0,1,2; got {text!r}")
    seeds = [int(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds names a seed twice: {text}")
    return seeds
