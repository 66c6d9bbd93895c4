"""`fcnn study`: a classic claim as an experiment that takes a few minutes, and whether it held."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from fcnn import registry
from fcnn.cli.parse import parse
from fcnn.config import DataConfig
from fcnn.runtime.ready import get_ready
from fcnn.runtime.signals import Stopped
from fcnn.utils.errors import UserError, unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyArgs:
    """Test a classic claim with a small experiment, which gives a table, a figure and a verdict. Without NAME, list the
    studies."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = ""
    """The study."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """The images; by default the digits, on which a study takes at most three minutes."""
    weights: Annotated[str | None, tyro.conf.arg(metavar="FILE|WORKDIR")] = None
    """For the study transfer: the pretrained network, a file written by `fcnn convert` or `fcnn export`, or a run's
    folder. By default one is trained on the first half of the classes."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the experiment."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for the figure and the numbers; runs/study-NAME by default."""


def study_command(args: list[str]) -> int:
    """`fcnn study [NAME] [options]`."""
    parsed = parse(StudyArgs, args, "fcnn study")
    if parsed.name and parsed.name not in registry.STUDIES:
        raise UserError(unknown("study", parsed.name, registry.STUDIES))
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
    for name in registry.STUDIES:
        print(f"{name:20} {registry.load(registry.STUDIES, name, 'study').claim}")
    print("\nfcnn study NAME runs one, in at most three minutes on two cores")
    return 0


def _study(args: StudyArgs, folder: Path) -> int:
    from fcnn.data import load
    from fcnn.report import Console
    from fcnn.report.files import drawing
    from fcnn.studies import output

    console, options = Console(), {} if args.weights is None else {"weights": args.weights}
    study = registry.load(registry.STUDIES, args.name, "study")(**options)
    console.log(output.introduction(study))
    get_ready()
    data = load(args.data, log=console.log, progress=console.progress)
    rows = study.run(data, args.seed, console.progress)
    verdict = study.verdict(rows)
    console.log(f"\n{output.table(study, rows)}\n\n{output.wrapped(verdict.sentence)}")
    output.write(study, args.name, rows, verdict, folder)
    with drawing(f"{args.name}.png", console.log):
        output.draw(study, args.name, rows, verdict, folder)
    console.log(f"The table, its numbers and the figure are in {folder}")
    return 0
