"""Tables as CSV, pictures as bytes, and text that both can hold."""

import contextlib
import csv
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fcnn.utils.files import write_bytes


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes numbers as CSV, floats to six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    write_bytes(path, readable(text.getvalue()).encode())


def readable(text: str) -> str:
    """Returns the text with what isn't UTF-8 in a name, which Python keeps as surrogates, written as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shorten(text: str, max_length: int = 32) -> str:
    """Returns a name, or the lines of a title, cut to what fits a figure."""
    return "\n".join(line if len(line) <= max_length else f"{line[: max_length - 3]}..." for line in text.split("\n"))


@contextlib.contextmanager
def drawing(name: str, log: Callable[[str], None]) -> Iterator[None]:
    """Logs in one line why a picture could not be drawn or written, so that a result is not lost with its picture."""
    try:
        yield
    except Exception as error:  # Matplotlib's own, a full disk
        reason = str(error).partition("\n")[0] or type(error).__name__
        log(f"{name} could not be written: {reason}")


def new_figure(width: float, height: float) -> Any:
    """Returns an empty Matplotlib figure, of so many inches."""
    from matplotlib import figure  # slow to import

    return figure.Figure(figsize=(width, height), layout="constrained")


def _take_literally(figure: Any) -> None:
    """Makes Matplotlib draw every text of a figure as it is.

    Names may hold $, which begins a formula, and bytes that aren't text. Numbers on an axis keep their powers of ten.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    numbers = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = axis.get_ticklabels(which="both")  # created by this call
        if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
            numbers |= set(labels)
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
            text.set_text(readable(text.get_text()))


def png(figure: Any, dpi: int = 110) -> bytes:
    """Returns a Matplotlib figure, or a Pillow image, as the bytes of a PNG."""
    content = io.BytesIO()
    if hasattr(figure, "savefig"):
        _take_literally(figure)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # an emoji is drawn as a box
            figure.savefig(content, dpi=dpi, format="png")
    else:
        figure.save(content, "PNG")
    return content.getvalue()
