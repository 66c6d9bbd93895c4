"""What a person opens afterwards: tables, and pictures as bytes."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fcnn.files import write_bytes


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes numbers as CSV, floats to six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    write_bytes(path, text.getvalue().encode())


def png(figure: Any, dpi: int = 110) -> bytes:
    """A Matplotlib figure, or a Pillow image, as the bytes of a PNG."""
    content = io.BytesIO()
    if hasattr(figure, "savefig"):
        figure.savefig(content, dpi=dpi, format="png")
    else:
        figure.save(content, "PNG")
    return content.getvalue()
