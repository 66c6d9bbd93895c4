"""`report.html`: a run on one page, for a reader who wasn't there."""

import contextlib
import dataclasses
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.report import curves
from fcnn.report.answer import write_answer
from fcnn.report.calibration import write_calibration
from fcnn.report.console import percent
from fcnn.report.files import png
from fcnn.report.fit import curve, fit
from fcnn.report.history import history_note
from fcnn.report.pictures import MOST, thumbnail, tiles
from fcnn.report.records import WEIGHTS, Record, read_records
from fcnn.utils.cores import cores
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes
from fcnn.utils.html import card, cards, code, items, page, paragraph, picture, shaded, table, wide
from fcnn.utils.json_file import read_json
from fcnn.utils.text import printable, short

FILE = "report.html"
FACTS = {"strategy.json": "How it was chosen"}
"""Files of a run that the page shows as tables, where they are, under these headings."""
LISTED = 12
"""Values of a list that is shown whole."""
CLASSES = 20
"""A confusion matrix of more classes than this doesn't fit a page: the worst pairs are listed instead."""
PACKAGES = ("fcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain", "tensorflow-datasets")


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image and the wrong prediction for it."""

    image: np.ndarray
    """(H, W, C) uint8."""
    label: str
    prediction: str
    probability: float
    """Of the predicted class."""
    file: str = ""
    """Of the image, where there is one."""


@dataclasses.dataclass(frozen=True)
class ReportData:
    """What a page shows besides the records."""

    title: str
    """What was trained on what."""
    command: str
    config: dict[str, Any]
    """By dotted name."""
    classes: Sequence[str]
    parameters: int
    devices: str
    best_step: int | None
    confusion: np.ndarray | None
    """(classes, classes) int, rows are labels; None where no image was held out."""
    mistakes: Sequence[Mistake]
    first_layer: str
    filters: np.ndarray
    """(N, H, W, C)."""
    predicted: str = "Validation images"
    """Which images the confusion and the mistakes are of."""


def write_page(workdir: Path, data: ReportData) -> Path:
    """Writes a run's `report.html`, whole or not at all; its curves are drawn already."""
    records, calibration = read_records(workdir), write_calibration(workdir)
    sections = [
        ("The answer", write_answer(workdir, records, data.config, confusion=data.confusion is not None)),
        ("Result", _result(records, data)),
        *([("Curves", _curves(workdir, records, data))] if curve(records, "train") or not _tested(records) else []),
        ("Which classes are confused", _confusion(data)),
        *([("The most confident mistakes", _mistakes(data))] if data.confusion is not None else []),
        *([("How far to trust a probability", calibration)] if calibration else []),
        ("Filters of the first layer", _filters(data)),
        *_notes(workdir),
        *_facts(workdir),
        ("How to repeat it", code(data.command) + _environment(data)),
        ("Configuration", table((name, str(value)) for name, value in data.config.items())),
    ]
    path = workdir / FILE
    write_bytes(path, page(data.title, sections))
    return path


def _result(records: Sequence[Record], data: ReportData) -> str:
    rows: list[tuple[str, str]] = []
    if test := _tested(records):
        low, high = test["interval"]
        interval = f"95 % confidence interval {percent(low)} to {percent(high)}"
        rows.append(("test accuracy", f"{percent(test['top1'])} ({interval})"))
        rows.append(("test loss", f"{test['loss']:.4f}, of {test['count']:,} images, read once at the end"))
    if test and any(r.get("weights") == "ema" for r in records):
        why = "no validation split was held out" if data.best_step is None else "the better on validation"
        rows.append(("weights", f"{WEIGHTS[test['weights']]}: {why}"))
    if best := _best(records, data):
        rows.append(
            ("best on validation", f"{percent(best['top1'])}, loss {best['loss']:.4f}, epoch {short(best['epoch'])}")
        )
    speeds = [r["images_per_second"] for r in curve(records, "train") if "images_per_second" in r]
    if speeds:
        rows.append(("throughput", f"{np.median(speeds):,.0f} images/s in training (median over epochs)"))
    rows.append(("parameters", f"{data.parameters:,}"))
    return (paragraph(fit(records)) if curve(records, "train") else "") + table(rows)


def _tested(records: Sequence[Record]) -> Record | None:
    return next((r for r in reversed(records) if r["kind"] == "test"), None)


def _best(records: Sequence[Record], data: ReportData) -> Record | None:
    return next((r for r in curve(records, "validation") if r["step"] == data.best_step), None)


def _curves(workdir: Path, records: Sequence[Record], data: ReportData) -> str:
    picture_path = workdir / curves.FILE
    if not picture_path.exists():
        return paragraph("No epoch has ended yet.")
    words = "Loss and accuracy by epoch."
    for split in ("train", "validation"):
        if rows := curve(records, split):
            words += (
                f" {split}: loss from {rows[0]['loss']:.3f} to {rows[-1]['loss']:.3f}, accuracy from "
                f"{percent(rows[0]['top1'])} to {percent(rows[-1]['top1'])}."
            )
    if best := _best(records, data):
        words += f" The best epoch on validation, {short(best['epoch'])}, is marked."
    note = history_note(workdir)
    return wide(picture(picture_path.read_bytes(), words)) + paragraph(words) + (paragraph(note) if note else "")


def _confusion(data: ReportData) -> str:
    counts, names = data.confusion, data.classes
    if counts is None:
        return paragraph("No validation split was held out, and the test images are for the final accuracy alone.")
    if len(names) <= CLASSES:
        return shaded(counts.tolist(), names, f"{data.predicted}: rows are labels, columns predictions.")
    off = counts * (1 - np.eye(len(names), dtype=counts.dtype))
    worst = np.argsort(-off, axis=None, kind="stable")[:CLASSES]
    pairs = [divmod(int(cell), len(names)) for cell in worst]
    rows = [(names[i], names[j], int(off[i, j]), int(counts[i].sum())) for i, j in pairs if off[i, j]]
    return table(rows, ("label", "prediction", "times", "of"), f"{data.predicted}: the pairs that are confused most.")


def _mistakes(data: ReportData) -> str:
    if not data.mistakes:
        return paragraph(f"None. {data.predicted}: all are right.")
    return cards(
        card(
            [png(thumbnail(mistake.image))],
            f"An image of class {mistake.label}, predicted as {mistake.prediction}",
            [
                *([mistake.file] if mistake.file else []),
                f"{mistake.label}, predicted as {mistake.prediction} ({100 * mistake.probability:.0f} %)",
            ],
        )
        for mistake in data.mistakes
    )


def _filters(data: ReportData) -> str:
    count, height, width, channels = data.filters.shape
    words = (
        f"{min(count, MOST)} of {count} kernels of {data.first_layer}, {height} x {width} pixels, "
        f"{'in color' if channels == 3 else 'in gray'}; gray is zero"
    )
    return picture(tiles(data.filters), words) + paragraph(words + ".")


def _notes(workdir: Path) -> list[tuple[str, str]]:
    """What the run noted about its images: duplicates across splits, files that were skipped, ..."""
    try:
        facts = read_json(workdir / "data.json")
        notes = [*map(str, facts["notes"]), *(f"skipped {one}" for one in facts["skipped"])]
    except (UserError, RecursionError, KeyError, TypeError):  # none, or damaged
        return []
    shown = [printable(note) for note in notes[:LISTED]]
    more = [f"and {len(notes) - LISTED:,} more, in data.json"] if len(notes) > LISTED else []
    return [("Notes on the images", items([*shown, *more]))] if notes else []


def _facts(workdir: Path) -> list[tuple[str, str]]:
    """What else a run keeps in files of JSON, a table each."""
    sections = []
    for name, heading in FACTS.items():
        with contextlib.suppress(UserError, RecursionError):  # none, or damaged: a page shows the rest
            facts = read_json(workdir / name)
            sections.append((heading, table((name, str(value)) for name, value in _flat(facts))))
    return sections


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Returns what is in an object of JSON, a row for each value; a long list by its length."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flat(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list) and len(value) > LISTED:
        return [(name, f"{len(value):,} values")]
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        return [row for i, inner in enumerate(value, start=1) for row in _flat(inner, f"{name}.{i}")]
    if isinstance(value, list):
        return [(name, ", ".join(str(_short(inner)) for inner in value))]
    return [(name, _short(value))]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return printable(value) if isinstance(value, str) else value


def _environment(data: ReportData) -> str:
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    machine = f"{platform.system()} {platform.machine()}, {cores()} cores"
    rows = [("devices", data.devices), ("machine", machine), ("Python", platform.python_version())]
    return table([*rows, ("packages", ", ".join(versions))])
