"""`fcnn study`: a classic claim as an experiment that takes a few minutes, and whether it held."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import parse
from fcnn.config import DataConfig, names
from fcnn.runtime.ready import get_ready
from fcnn.runtime.signals import Stopped
from fcnn.utils.errors import UserError, unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyArgs:
    """Try a classic claim: a small experiment with a table, a figure and a sentence that says whether the claim held
    here. Without a name, all of them are listed."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """The study; `fcnn study` lists them."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """On which images; the times are those of the digits."""
    weights: Annotated[str | None, tyro.conf.arg(metavar="FILE|WORKDIR")] = None
    """transfer: a trained network: a file of `fcnn convert` or `fcnn export`, or a run's folder; if not given, one that
    is trained on the first half of the classes."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """The same seed gives the same numbers; another one repeats the experiment."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the figure and the numbers go; runs/study-NAME if not given."""


def study_command(args: list[str]) -> int:
    """`fcnn study [NAME] [options]`."""
    parsed = parse(StudyArgs, args, "fcnn study")
    if parsed.name and parsed.name not in names.STUDIES:
        raise UserError(unknown("study", parsed.name, names.STUDIES))
    folder = parsed.out or Path("runs") / f"study-{parsed.name}"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; it must be a folder")
    if parsed.weights is not None and parsed.name != "transfer":
        raise UserError("--weights belongs to fcnn study transfer")
    if not 0 <= parsed.seed < 2**16:
        raise UserError(f"--seed must be from 0 to {2**16 - 1}, got {parsed.seed}")
    if not parsed.name:
        return _list()
    try:
        return _study(parsed, folder)
    except Stopped as stopped:
        print("\nStopped; nothing was written.")
        return stopped.exit_code


def _list() -> int:
    from fcnn.studies import STUDIES

    for name, study in STUDIES.items():
        print(f"{name:20} {study.claim}")
    print("\nfcnn study NAME tries one, in three minutes at most on two cores")
    return 0


def _study(args: StudyArgs, folder: Path) -> int:
    from fcnn.data import load
    from fcnn.report import Console
    from fcnn.studies import STUDIES, output

    options: dict[str, Any] = {} if args.weights is None else {"weights": args.weights}
    console, study = Console(), STUDIES[args.name](**options)
    console.log(output.introduction(study))
    get_ready()
    data = load(args.data, log=console.log, progress=console.progress)
    rows = study.measure(data, args.seed, console.progress)
    verdict = study.judge(rows)
    folder.mkdir(parents=True, exist_ok=True)
    output.write(study, args.name, rows, verdict, folder)
    console.log(f"\n{output.table(study, rows)}\n\n{output.wrapped(verdict.sentence)}")
    console.log(f"{args.name}.png, .csv and .txt are in {folder}")
    return 0
