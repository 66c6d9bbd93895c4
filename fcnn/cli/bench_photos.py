"""`fcnn bench photos`: how good a classifier of one's photographs becomes in so many minutes, beside PyTorch's."""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import parse
from fcnn.cli.train_args import parse_seeds
from fcnn.utils.errors import UserError
from fcnn.utils.text import table


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchPhotosArgs:
    """Compare `fcnn train PHOTOS`, fine-tuning in PyTorch if it is installed, and logistic regression on averaged
    features: test accuracy after the same training time, from the same weights and images.

    This takes hours, on a machine that should be otherwise idle. If interrupted, the same command resumes.
    """

    photos: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS")]
    """A folder with a subfolder of images for each class."""
    minutes: Annotated[float, tyro.conf.arg(metavar="M")] = 10.0
    """Time for each training, including the start of its process; for `fcnn train` also the test."""
    images_per_class: Annotated[str, tyro.conf.arg(metavar="N,N,...")] = "10,50,all"
    """Numbers of training and validation images per class."""
    seeds: Annotated[str, tyro.conf.arg(metavar="N,N,...")] = "0,1,2"
    """Seeds of the splits and the trainings."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the results; benchmarks/PHOTOS by default."""
    json: bool = False
    """Print the results as one JSON object on standard output; everything else goes to standard error."""


def bench_photos_command(args: list[str]) -> int:
    """`fcnn bench photos PHOTOS [options]`."""
    parsed = parse(BenchPhotosArgs, args, "fcnn bench photos")
    sizes, seeds = _sizes(parsed.images_per_class), parse_seeds(parsed.seeds) or []
    if not 0 < parsed.minutes < 1e6:
        raise UserError(f"--minutes must be above 0, got {parsed.minutes:g}")
    photos = parsed.photos.expanduser()
    if not photos.is_dir():
        raise UserError(f"there is no folder {photos}")
    out = parsed.out or Path("benchmarks") / photos.resolve().name

    from fcnn.bench.photos.measure import measure
    from fcnn.bench.photos.summary import summarize

    def log(text: str) -> None:
        print(text, file=sys.stderr)

    records = measure(photos, out, minutes=parsed.minutes, seeds=seeds, sizes=sizes, log=log)
    rows = summarize(records)
    print(json.dumps({"rows": rows, "cells": records}) if parsed.json else _lines(rows, parsed.minutes))
    return 0


def _sizes(text: str) -> list[int | None]:
    from fcnn.training.linear_probe import FOLDS

    if not re.fullmatch(r"([1-9]\d*|all)(,([1-9]\d*|all))*", text):
        raise UserError(f"--images-per-class must be numbers or all, separated by commas, like 10,50,all; got {text!r}")
    sizes = list(dict.fromkeys(None if part == "all" else int(part) for part in text.split(",")))
    if any(size is not None and size < FOLDS for size in sizes):
        raise UserError(f"--images-per-class must be {FOLDS} or more, for {FOLDS}-fold cross-validation; got {text!r}")
    return sizes


def _lines(rows: list[dict[str, Any]], minutes: float) -> str:
    lines = [["images a class", "", "test accuracy", "splits", "seconds"]]
    for row in rows:
        size, accuracy = row["images_per_class"], f"{100 * row['mean']:.1f} +- {100 * row['std']:.1f} %"
        cells = ["all" if size is None else str(size), row["contender"], accuracy, str(row["n"])]
        lines.append([*cells, f"{row['seconds']:.0f}"])
    return "\n".join([f"{minutes:g} minutes were allowed for each training", table(lines, left=2), *_notes(rows)])


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Returns what PyTorch's rows are: the best of how many points, and what the others got."""
    notes = []
    for row in rows:
        if row["contender"] == "torch":
            grid, norm = row["grid"], "frozen" if row["freeze_batch_norm"] else "not frozen"
            notes.append(
                f"torch, {row['images_per_class'] or 'all'}: rate {row['rate']:g}, batch norm {norm}: the best on "
                f"validation of {grid['points']} trainings on the first split ({grid['seconds']:.0f} s), which get "
                f"{100 * grid['worst']:.1f} to {100 * grid['best']:.1f} % of its test images"
            )
    return notes or ["PyTorch is not installed: no comparison"]
