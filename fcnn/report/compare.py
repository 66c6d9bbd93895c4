"""Several runs on one page: their curves in one picture, their results in one table, and where their configs differ."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcnn.report.console import percent
from fcnn.report.files import new_figure, png, shorten
from fcnn.report.fit import curve, fit
from fcnn.report.records import Record, rank
from fcnn.utils.files import write_bytes
from fcnn.utils.html import page, paragraph, picture, table
from fcnn.utils.text import short


@dataclasses.dataclass(frozen=True)
class Compared:
    """A run."""

    name: str
    """Its folder."""
    config: dict[str, Any]
    """By dotted name."""
    records: Sequence[Record]
    note: str | None = None
    """What its records lack (`history_note`)."""


def write_comparison(path: Path, runs: Sequence[Compared]) -> None:
    """Writes the page, whole or not at all."""
    drawn, words = _draw(runs)
    notes = "".join(paragraph(run.note) for run in runs if run.note)
    sections = [
        ("Results", table((_row(run) for run in runs), HEAD)),
        ("Curves", picture(drawn, words) + paragraph(words) + notes),
        ("Where the configs differ", _differences(runs)),
        ("Over- and underfitting", table((run.name, fit(run.records)) for run in runs)),
    ]
    write_bytes(path, page(f"{len(runs)} runs side by side", sections))


HEAD = ("run", "best on validation", "its loss", "in epoch", "test accuracy", "95 % CI", "images/s", "epochs")


def _row(run: Compared) -> list[str]:
    validation, train = curve(run.records, "validation"), curve(run.records, "train")
    best = max(validation, key=lambda r: (rank(r), r["step"]), default=None)
    test = next((r for r in reversed(run.records) if r["kind"] == "test"), None)
    speeds = sorted(r["images_per_second"] for r in train if "images_per_second" in r)
    return [
        run.name,
        *((percent(best["top1"]), f"{best['loss']:.4f}", short(best["epoch"])) if best else ("-", "-", "-")),
        *((percent(test["top1"]), " to ".join(map(percent, test["interval"]))) if test else ("not finished", "-")),
        f"{speeds[len(speeds) // 2]:,.0f}" if speeds else "-",
        f"{max((r['epoch'] for r in (*train, *validation)), default=0):g}",
    ]


def _differences(runs: Sequence[Compared]) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.config))
    rows = [(name, *(str(run.config.get(name, "-")) for run in runs)) for name in names]
    different = [row for row in rows if len(set(row[1:])) > 1]
    if not different:
        return paragraph("They are equal.")
    return table(different, ("option", *(run.name for run in runs)))


def _draw(runs: Sequence[Compared]) -> tuple[bytes, str]:
    """Returns the picture, and its content in words."""
    figure = new_figure(10, 4.5)
    axes = figure.subplots(1, 2)
    words = ["Validation (lines) and training (dots) by epoch."]
    for number, run in enumerate(runs):
        color = f"C{number % 10}"
        for split, line in (("validation", "-"), ("train", ":")):
            rows = curve(run.records, split)
            epochs = [row["epoch"] for row in rows]
            # After a space: Matplotlib leaves out what begins with an underscore.
            label = f" {shorten(run.name, 60)}" if split == "validation" else None
            axes[0].plot(epochs, [row["loss"] for row in rows], line, color=color, label=label)
            axes[1].plot(epochs, [100 * row["top1"] for row in rows], line, color=color, label=label)
        if rows := curve(run.records, "validation"):
            words.append(
                f"{run.name}: validation accuracy from {percent(rows[0]['top1'])} to {percent(rows[-1]['top1'])}."
            )
    axes[0].set(xlabel="epoch", ylabel="cross-entropy loss", yscale="log")
    axes[1].set(xlabel="epoch", ylabel="top-1 accuracy (%)")
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=8)
    return png(figure), " ".join(words)
