"""What `fcnn predict` writes of its predictions (`fcnn.inference.predict`): lines, a table, a summary."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fcnn.cli.predict import UNSURE
from fcnn.utils.text import join, printable


def print_line(prediction: dict[str, Any]) -> None:
    """Prints a line for an image."""
    named = ", ".join(f"{printable(one['class'])} {100 * one['probability']:.1f} %" for one in prediction["top"])
    answer = named if prediction["class"] is not None else f"{UNSURE} ({named})"
    print(f"{printable(prediction['image'])}: {answer}", flush=True)


def csv_text(predictions: Sequence[dict[str, Any]], top: int) -> str:
    """Returns a table with a row for each image: path, answer and its probability, the `top` likeliest classes with
    theirs, and the reason where an image couldn't be read."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = range(1, top + 1)
    columns = [name for i in numbers for name in (f"class_{i}", f"probability_{i}")]
    writer.writerow(["path", "class", "probability", *columns, "error"])
    for prediction in predictions:
        path = printable(prediction["image"])
        if "error" in prediction:
            writer.writerow([path, *[""] * (2 + len(columns)), prediction["error"]])
            continue
        cells = [cell for one in prediction["top"] for cell in (printable(one["class"]), f"{one['probability']:.6f}")]
        writer.writerow([path, _answer(prediction), cells[1], *cells, ""])
    return out.getvalue()


def summary(predictions: Sequence[dict[str, Any]]) -> str:
    """Returns how many images there were of each class: "12 images: cat 7, dog 4, unsure 1"."""
    answers = [_answer(prediction) for prediction in predictions if "error" not in prediction]
    counts = join((f"{name} {count:,}" for name, count in Counter(answers).most_common()), 10)
    bad = len(predictions) - len(answers)
    return f"{len(answers):,} images: {counts}" + (f"; {bad:,} that can't be read" if bad else "")


def _answer(prediction: dict[str, Any]) -> str:
    return UNSURE if prediction["class"] is None else printable(prediction["class"])
