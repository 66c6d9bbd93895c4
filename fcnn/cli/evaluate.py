"""`fcnn evaluate`: the accuracy of a trained network, and what it is made of."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fcnn.cli.parse import parse
from fcnn.cli.ready import get_ready

MOST_CLASSES = 20
"""With more classes than this, text names only the worst."""
WORST = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataArgs:
    """Where the images are."""

    name: Annotated[str | None, tyro.conf.arg(metavar="folder:PATH")] = None
    """Where the run's images are now, if they were moved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateArgs:
    """Evaluate a run: its best checkpoint by validation accuracy, or its newest if it held out no validation split."""

    workdir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR")]
    """The run's folder."""
    split: Literal["test", "validation", "train"] = "test"
    """Which images."""
    data: DataArgs = dataclasses.field(default_factory=DataArgs)
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


def evaluate_command(args: list[str]) -> int:
    """`fcnn evaluate WORKDIR [--split test] [--json]`."""
    parsed = parse(EvaluateArgs, args, "fcnn evaluate")

    from fcnn import workdir

    config = workdir.read_config(parsed.workdir)  # a wrong folder is answered before jax is imported
    data = None
    if parsed.data.name is not None:
        data = workdir.resolved(workdir.with_data(config, parsed.data.name)).data

    get_ready()

    from fcnn import loop
    from fcnn.report import Console

    console = Console(stderr=parsed.json)
    found = loop.evaluate(parsed.workdir, parsed.split, console, data=data)
    if parsed.json:
        print(json.dumps({"workdir": str(parsed.workdir)} | found))
        return 0
    low, high = found["interval"]
    console.say(
        f"{parsed.split} split, {found['count']} images, state of epoch {found['epoch']:g}: "
        f"top-1 {100 * found['top1']:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f} %), "
        f"top-5 {100 * found['top5']:.2f} %, loss {found['loss']:.4f}"
    )
    console.say("\n".join(recall_table(found)))
    return 0


def recall_table(found: dict[str, Any]) -> list[str]:
    """Lines that tell the recall of each class, or of the worst if there are many classes.

    Args:
      found: with "recall" {class: share or None} and "images" {class: count}.
    """
    recall, images = found["recall"], found["images"]
    head, names = "class", list(recall)
    if len(names) > MOST_CLASSES:
        head = f"worst {WORST} of {len(names)} classes"
        names = sorted((name for name in names if images[name]), key=lambda name: recall[name])[:WORST]
    width = max(len(head), *(len(name) for name in names))
    lines = [f"{head:{width}}  {'recall':>8}  {'images':>6}"]
    for name in names:
        share = "-" if recall[name] is None else f"{100 * recall[name]:.2f} %"
        lines.append(f"{name:{width}}  {share:>8}  {images[name]:>6}")
    return lines
