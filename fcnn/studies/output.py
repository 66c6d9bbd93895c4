"""What a study leaves: a table to read, its numbers as CSV, the figure, and the sentence."""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.report.files import png, write_table
from fcnn.studies.study import Study, Verdict, spread
from fcnn.utils.files import write_bytes

WIDTH = 118


def table(study: Study, rows: Sequence[Any]) -> str:
    """The rows as lines of text, those that differ in the seed alone as mean ± standard deviation."""
    shown = study.shown(rows)
    measured = [name for name in shown[0]._fields if name not in (*study.keys, "seed")]
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row in shown:
        groups.setdefault(tuple(getattr(row, key) for key in study.keys), []).append(row)
    cells = [[*study.keys, *measured]]
    for key, members in groups.items():
        values = [np.asarray([getattr(row, name) for row in members], np.float64) for name in measured]
        cells.append(
            [_word(part) for part in key] + [spread(v) if v.min() < v.max() else _word(v[0].item()) for v in values]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    left = len(study.keys)
    lines = []
    for line in cells:
        padded = [cell.ljust(w) for cell, w in zip(line[:left], widths[:left], strict=True)]
        padded += [cell.rjust(w) for cell, w in zip(line[left:], widths[left:], strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _word(value: Any) -> str:
    """A cell: whole numbers with commas, others to three digits."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3g}"
    return f"{value:,.0f}" if isinstance(value, int | float) and abs(value) < 1e15 else str(value)


def introduction(study: Study) -> str:
    """The claim, who made it, and when it counts as held."""
    parts = (f"Claim: {study.claim}.", f"Source: {study.paper}.", f"It counts as held if {study.criterion}.")
    return "\n".join(wrapped(part) for part in parts)


def wrapped(text: str) -> str:
    """Lines of at most WIDTH characters."""
    return textwrap.fill(text, WIDTH, subsequent_indent="  ")


def write(study: Study, name: str, rows: Sequence[Any], verdict: Verdict, folder: Path) -> None:
    """`NAME.png`, `NAME.csv` and `NAME.txt`, the last with all that was printed, into a folder that is there."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    study.draw(rows, figure)
    title = f"{study.claim[0].upper()}{study.claim[1:]}: {'held' if verdict.held else 'did not hold'} here"
    figure.suptitle(textwrap.fill(title, 110), fontsize=10)
    write_bytes(folder / f"{name}.png", png(figure, dpi=80))
    write_table(folder / f"{name}.csv", rows[0]._fields, rows)
    sizes = ", ".join(f"{field.name} {getattr(study, field.name)}" for field in dataclasses.fields(study))
    parts = (introduction(study), wrapped(f"Size: {sizes}"), "", table(study, rows), "", wrapped(verdict.sentence), "")
    write_bytes(folder / f"{name}.txt", "\n".join(parts).encode())
