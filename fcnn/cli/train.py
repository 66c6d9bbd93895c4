"""`fcnn train`: a preset, changed by the options given, to a trained network."""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import PresetArgs, asks_for_help, named_options, parse, take_option
from fcnn.cli.photos import BEFORE, config_for, folder_of, leave_model
from fcnn.cli.results import tell_comparison, tell_result, tell_seeds
from fcnn.config import Config, presets
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArgs(PresetArgs):
    """Train a network: a preset, changed by the options given, or, with a folder of images in the place of --config,
    what is chosen for them. The same --workdir again resumes from its newest checkpoint."""

    workdir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run's folder; a new numbered one under runs/ if not given."""
    seeds: Annotated[str | None, tyro.conf.arg(metavar="N,N,...")] = None
    """Repeat the run with each of these seeds and report mean and standard deviation of the test accuracy."""
    distributed: bool = False
    """Train together with other processes, started by the same command: on Slurm, on a TPU pod, or with the next three
    options. --workdir must be on a disk that all of them see."""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Address of process 0, with a free port; needed only outside of Slurm and TPU pods."""
    num_processes: int | None = None
    """Number of processes; goes with --coordinator."""
    process_id: int | None = None
    """Index of this process, from 0; goes with --coordinator."""
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


def train_command(args: list[str]) -> int:
    """`fcnn train --config NAME [options]`, or `fcnn train PHOTOS [options]`."""
    name, rest = take_option(args, "--config")
    photos = folder_of(rest) if name is None and rest[:1] and rest[0] not in presets.names() else None
    if photos is not None:
        rest = rest[1:]
    elif name is None and not asks_for_help(args):
        known = presets.names()
        if args and (args[0] in known or args[0].endswith(".py")):
            raise UserError(f"a preset follows --config: fcnn train --config {shlex.join(args)}")
        if args and not args[0].startswith("-"):
            raise UserError(f"there is no folder {args[0]}, and a preset follows --config: {', '.join(known)}")
        raise UserError(
            f"fcnn train needs --config NAME, --config FILE.py or a folder of images; presets: {', '.join(known)}"
        )
    preset = None if name is None else presets.read_preset(name)
    config = preset.config if preset is not None else Config() if photos is None else BEFORE
    default = TrainArgs(config=config, preset=name or (photos.resolve().name if photos else "NAME"))
    parsed = parse(TrainArgs, rest, "fcnn train", default=default)
    seeds = _seeds(parsed.seeds)
    _check_distributed(parsed)
    if photos is not None:
        config = config_for(photos, parsed.config, parsed.workdir, named_options(rest), stderr=parsed.json)
        default = dataclasses.replace(default, config=config)
        parsed = parse(TrainArgs, rest, "fcnn train", default=default)

    from fcnn.training import workdir

    made = parsed.workdir is None
    folder = parsed.workdir or workdir.fresh(Path("runs"), Path(default.preset).stem)
    again = _again([str(photos)] if photos else ["--config", default.preset], rest, folder)
    try:
        return _train(parsed, folder, seeds, again, preset, leave=photos is not None)
    except UserError:
        if made:
            with contextlib.suppress(OSError):  # not empty: something was kept after all
                folder.rmdir()
        raise


def _train(
    args: TrainArgs, folder: Path, seeds: list[int] | None, again: str, preset: presets.Preset | None, *, leave: bool
) -> int:
    """Runs the loop, once or once for each seed, and says how it ended; `leave` the model of a single run beside it."""
    get_ready()

    from fcnn.distributed import processes
    from fcnn.report import Console
    from fcnn.runtime.signals import Interrupted, Stopped
    from fcnn.training.metric_log import NonFinite

    if args.distributed:
        processes.join(args.coordinator, args.num_processes, args.process_id)
    console = Console(stderr=args.json, silent=not processes.is_first())
    args = dataclasses.replace(args, json=args.json and processes.is_first())
    try:
        if seeds is None:
            found = {"workdir": str(folder)} | _run(args.config, folder, console, preset)
            if leave and processes.is_first():
                leave_model(folder, console)
        else:
            runs = []
            for seed in seeds:
                config = dataclasses.replace(args.config, seed=seed)
                runs.append({"seed": seed} | _run(config, folder / f"seed-{seed}", console, preset))
            found = tell_seeds(runs, folder, console)
    except Interrupted as interrupted:
        console.log(f"Saved. To go on: {again}")
        return interrupted.exit_code
    except Stopped as stopped:
        console.log(f"Stopped. To go on: {again}")
        return stopped.exit_code
    except NonFinite as error:
        console.log(f"fcnn: {error}")
        return 1
    if args.json:
        print(json.dumps(found))
    return 0


def _run(config: Config, folder: Path, console: Any, preset: presets.Preset | None) -> dict[str, Any]:
    """A run, and the one that `transfer.compare` asks for; its test record, with the other's as "compared"."""
    from fcnn.training import trainer
    from fcnn.training.custom import Custom
    from fcnn.transfer import auto

    config, choice = auto.decide(config, console, folder)
    custom = Custom() if preset is None else Custom.of_preset(preset, config)
    callbacks = () if preset is None else preset.call("callbacks", config) or ()
    found = trainer.train(config, folder, console, custom=custom, callbacks=callbacks, choice=choice)
    tell_result(found, config, folder, console)
    if (compare := config.transfer.compare) is None:
        return found
    transfer = dataclasses.replace(config.transfer, strategy=compare, compare=None)
    rival = dataclasses.replace(config, transfer=transfer)
    console.log(f"\nThe same by {compare}, to compare:")
    other = trainer.train(rival, folder / compare, console, custom=custom, callbacks=callbacks)
    tell_result(other, rival, folder / compare, console)
    tell_comparison(config, found, other, console)
    return found | {"compared": {"strategy": compare} | other}


def _check_distributed(args: TrainArgs) -> None:
    """UserError unless the options of `--distributed` fit together."""
    given = {"--coordinator": args.coordinator, "--num-processes": args.num_processes, "--process-id": args.process_id}
    here = [name for name, value in given.items() if value is not None]
    if here and not args.distributed:
        raise UserError(f"{here[0]} has no effect without --distributed")
    if 0 < len(here) < len(given):
        raise UserError(f"{', '.join(given)} go together; {', '.join(given.keys() - here)} is missing")
    if args.distributed and args.workdir is None:
        raise UserError("--distributed needs --workdir DIR, on a disk that all processes see")
    count, index = args.num_processes, args.process_id
    if count is not None and index is not None and not 0 <= index < count:
        raise UserError(f"--process-id must be from 0 to {count - 1} with --num-processes {count}, got {index}")
    if args.coordinator is not None and not re.fullmatch(r".+:\d+", args.coordinator):
        raise UserError(f"--coordinator must look like HOST:PORT, got {args.coordinator!r}")


def _seeds(text: str | None) -> list[int] | None:
    """ "0,1,2" as a list of seeds."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UserError(f"--seeds must be whole numbers with commas between them, like 0,1,2; got {text!r}")
    seeds = [int(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds names a seed twice: {text}")
    return seeds


def _again(what: list[str], args: list[str], folder: Path) -> str:
    """The command that goes on with this run."""
    _, others = take_option(args, "--workdir")
    # By the interpreter at work: the environment may not be active, and `fcnn` not on the PATH.
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    program = [python, sys.argv[0]] if sys.argv[0].endswith("train.py") else [python, "-m", "fcnn", "train"]
    return shlex.join([*program, *what, *others, "--workdir", str(folder)])
