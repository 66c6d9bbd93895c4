"""What a study writes: a table to read, its numbers as CSV, the figure, and the sentence."""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.report.files import new_figure, png, write_table
from fcnn.studies.study import Row, Study, Verdict, mean_and_std
from fcnn.utils import text
from fcnn.utils.files import write_bytes

WIDTH = 118


def table(study: Study, rows: Sequence[Row]) -> str:
    """The rows as lines of text, those that differ in the seed alone as mean ± standard deviation."""
    rows = study.table_rows(rows)
    measured = [name for name in rows[0] if name not in (*study.keys, "seed")]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in study.keys), []).append(row)
    lines = [[*study.keys, *measured]]
    for key, members in groups.items():
        values = [np.asarray([row[name] for row in members], np.float64) for name in measured]
        lines.append(
            [*map(_cell, key), *(mean_and_std(v) if v.min() < v.max() else _cell(v[0].item()) for v in values)]
        )
    return text.table(lines, left=len(study.keys))


def _cell(value: Any) -> str:
    """Whole numbers with commas, others to three digits."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3g}"
    return f"{value:,.0f}" if isinstance(value, int | float) and abs(value) < 1e15 else str(value)


def introduction(study: Study) -> str:
    """The claim, its source, and the criterion by which it holds."""
    parts = (f"Claim: {study.claim}.", f"Source: {study.paper}.", f"Criterion: {study.criterion}.")
    return "\n".join(wrapped(part) for part in parts)


def wrapped(text: str) -> str:
    """Lines of at most WIDTH characters."""
    return textwrap.fill(text, WIDTH, subsequent_indent="  ")


def write(study: Study, name: str, rows: Sequence[Row], verdict: Verdict, folder: Path) -> None:
    """`NAME.csv` and `NAME.txt`, the latter with all that was printed."""
    write_table(folder / f"{name}.csv", list(rows[0]), (list(row.values()) for row in rows))
    sizes = ", ".join(f"{field.name} {getattr(study, field.name)}" for field in dataclasses.fields(study))
    parts = (introduction(study), wrapped(f"Size: {sizes}"), "", table(study, rows), "", wrapped(verdict.sentence), "")
    write_bytes(folder / f"{name}.txt", "\n".join(parts).encode())


def draw(study: Study, name: str, rows: Sequence[Row], verdict: Verdict, folder: Path) -> None:
    """`NAME.png`."""
    figure = new_figure(10, 4.5)
    study.draw(rows, figure)
    title = f"{study.claim[0].upper()}{study.claim[1:]}: {'held' if verdict.held else 'did not hold'} here"
    figure.suptitle(textwrap.fill(title, 110), fontsize=10)
    write_bytes(folder / f"{name}.png", png(figure, dpi=80))
