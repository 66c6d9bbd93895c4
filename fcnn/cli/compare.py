"""`fcnn compare`: several runs on one page."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from fcnn.cli.parse import parse
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareArgs:
    """Compare runs on one page: curves, results, and the options that differ. (A run's own page is the report.html in
    its folder.)"""

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...", help_behavior_hint="(required)")
    ]
    """Folders of the runs."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.html")] = Path("comparison.html")
    """HTML file to write."""


def compare_command(args: list[str]) -> int:
    """`fcnn compare RUN RUN ... [--out FILE.html]`."""
    parsed = parse(CompareArgs, args, "fcnn compare")
    if len(parsed.runs) < 2:
        raise UserError("fcnn compare needs two or more runs; a run's own page is its report.html")
    if parsed.out.suffix.lower() != ".html":
        raise UserError(f"--out must name an .html file, got {parsed.out}")
    if not parsed.out.parent.is_dir():
        raise UserError(f"--out: there is no folder {parsed.out.parent}")

    from fcnn.config.serialize import flatten
    from fcnn.training import workdir

    configs = [flatten(workdir.read_config(run)) for run in parsed.runs]  # wrong folders are answered first

    from fcnn.report.compare import Compared, write_comparison
    from fcnn.report.history import history_note
    from fcnn.report.records import read_records

    pairs = zip(parsed.runs, configs, strict=True)
    runs = [Compared(str(run), config, read_records(run), history_note(run)) for run, config in pairs]
    write_comparison(parsed.out, runs)
    for note in (run.note for run in runs if run.note):
        print(printable(f"Note: {note}"))
    print(printable(f"{len(parsed.runs)} runs side by side are in {parsed.out}"))
    return 0
