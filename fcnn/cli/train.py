"""`fcnn train`: a preset, changed by the options given, to a trained network."""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import statistics
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn import presets
from fcnn.cli.cache import keep_compiled_programs
from fcnn.cli.parse import parse, take_option
from fcnn.config import Config
from fcnn.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train a network: a preset, changed by the options given. The same --workdir again goes on from its newest
    checkpoint."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: Annotated[str, tyro.conf.arg(name="config", metavar="NAME|FILE.py")]
    """A shipped preset by name, or a file that defines CONFIG."""
    workdir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run's folder; a new numbered one under runs/ if not given."""
    seeds: Annotated[str | None, tyro.conf.arg(metavar="N,N,...")] = None
    """Repeat the run with each of these seeds and report mean and standard deviation of the test accuracy."""
    distributed: bool = False
    """Train as one with other processes, started by the same command on Slurm, on a TPU pod or with the three that
    follow; --workdir is on a disk that all of them see."""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Where process 0 runs, and a free port there; only where neither Slurm nor a TPU pod tells."""
    num_processes: int | None = None
    """How many processes there are, likewise."""
    process_id: int | None = None
    """Which one this is, from 0, likewise."""
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


def train_command(args: list[str]) -> int:
    """`fcnn train --config NAME [options]`."""
    name, rest = take_option(args, "--config")
    if name is None and not {"-h", "--help"} & set(args):
        known = presets.names()
        if args and (args[0] in known or args[0].endswith(".py")):
            raise UserError(f"a preset follows --config: fcnn train --config {shlex.join(args)}")
        raise UserError(f"fcnn train needs --config NAME or --config FILE.py; presets: {', '.join(known)}")
    config = presets.load_preset(name) if name is not None else Config()
    default = TrainArgs(config=config, preset=name or "NAME")
    parsed = parse(TrainArgs, rest, "fcnn train", default=default)
    seeds = _seeds(parsed.seeds)
    _check_distributed(parsed)

    from fcnn import workdir

    made = parsed.workdir is None
    folder = parsed.workdir or workdir.fresh(Path("runs"), Path(default.preset).stem)
    try:
        return _train(parsed, folder, seeds, again=_again(rest, default.preset, folder))
    except UserError:
        if made:
            with contextlib.suppress(OSError):  # not empty: something was kept after all
                folder.rmdir()
        raise


def _train(args: TrainArgs, folder: Path, seeds: list[int] | None, again: str) -> int:
    """Runs the loop, once or once for each seed, and says how it ended."""
    keep_compiled_programs()

    from fcnn import loop, processes
    from fcnn.interrupt import Interrupted
    from fcnn.meter import NonFinite
    from fcnn.report import Console

    if args.distributed:
        processes.join(args.coordinator, args.num_processes, args.process_id)
    console = Console(stderr=args.json, silent=not processes.is_first())
    args = dataclasses.replace(args, json=args.json and processes.is_first())
    try:
        if seeds is None:
            found = loop.train(args.config, folder, console)
            _tell_result(found, folder, args, console)
            return 0
        runs = []
        for seed in seeds:
            config = dataclasses.replace(args.config, seed=seed)
            found = loop.train(config, folder / f"seed-{seed}", console)
            _tell_result(found, folder / f"seed-{seed}", args, console, quiet_json=True)
            runs.append({"seed": seed} | found)
    except Interrupted as interrupted:
        console.say(f"Saved. To go on: {again}")
        return interrupted.exit_code
    except NonFinite as error:
        console.say(f"fcnn: {error}")
        return 1
    _tell_seeds(runs, folder, args, console)
    return 0


def _tell_result(found: dict[str, Any], folder: Path, args: TrainArgs, console: Any, quiet_json: bool = False) -> None:
    hits = round(found["top1"] * found["count"])
    best = "the best on validation"
    if not args.config.data.validation:
        best = "the last, as no validation split was held out"
    if found["step"] == 0:
        best = "the weights as they came"
    low, high = found["interval"]
    console.say(f"Checkpoints, metrics.jsonl, tensorboard/, curves.png and report.html are in {folder}")
    if found.get("skipped"):  # records of older runs don't tell
        console.say(f"Without {found['skipped']} files that can't be read; data.json there names them")
    console.say(
        f"Test accuracy {100 * found['top1']:.2f} % ({hits} of {found['count']}; 95 % interval {100 * low:.2f} to "
        f"{100 * high:.2f} %), loss {found['loss']:.4f}: epoch {found['epoch']:g}, {best}"
    )
    if args.json and not quiet_json:
        print(json.dumps({"workdir": str(folder)} | found))


def _tell_seeds(runs: list[dict[str, Any]], folder: Path, args: TrainArgs, console: Any) -> None:
    accuracies = [run["top1"] for run in runs]
    summary = {
        "workdir": str(folder),
        "n": len(runs),
        "mean": statistics.fmean(accuracies),
        "std": statistics.stdev(accuracies) if len(runs) > 1 else 0.0,
        "runs": runs,
    }
    console.say(
        f"Test accuracy over {len(runs)} seeds: mean {100 * summary['mean']:.2f} %, standard deviation "
        f"{100 * summary['std']:.2f} points ({', '.join(f'{100 * a:.2f}' for a in accuracies)}); runs are in {folder}"
    )
    if args.json:
        print(json.dumps(summary))


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


def _again(args: list[str], preset: str, folder: Path) -> str:
    """The command that goes on with this run."""
    _, others = take_option(args, "--workdir")
    # By the interpreter at work: the environment may not be active, and `fcnn` not on the PATH.
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    program = [python, sys.argv[0]] if sys.argv[0].endswith("train.py") else [python, "-m", "fcnn", "train"]
    return shlex.join([*program, "--config", preset, *others, "--workdir", str(folder)])
