"""`fcnn evaluate`: the accuracy of a trained network."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fcnn.cli.cache import keep_compiled_programs
from fcnn.cli.parse import parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateArgs:
    """Evaluate a run: its best checkpoint by validation accuracy, or its newest if it held out no validation split."""

    workdir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR")]
    """The run's folder."""
    split: Literal["test", "validation", "train"] = "test"
    """Which images."""
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


def evaluate_command(args: list[str]) -> int:
    """`fcnn evaluate WORKDIR [--split test] [--json]`."""
    parsed = parse(EvaluateArgs, args, "fcnn evaluate")

    from fcnn import workdir

    workdir.read_config(parsed.workdir)  # a wrong folder is answered before jax is imported

    keep_compiled_programs()

    from fcnn import loop
    from fcnn.report import Console

    console = Console(stderr=parsed.json)
    found = loop.evaluate(parsed.workdir, parsed.split, console)
    if parsed.json:
        print(json.dumps({"workdir": str(parsed.workdir)} | found))
    else:
        console.say(
            f"{parsed.split} split, {found['count']} images, state of epoch {found['epoch']:g}: "
            f"top-1 {100 * found['top1']:.2f} %, top-5 {100 * found['top5']:.2f} %, loss {found['loss']:.4f}"
        )
    return 0
