"""What `fcnn predict` writes of its predictions (`fcnn.inference.predict`): lines, a table, a summary."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fcnn.utils.text import join, printable

UNSURE, NONE = "unsure", "none of these"
"""The answers below --threshold, and to an image that is of none of the classes."""


def print_line(prediction: dict[str, Any]) -> None:
    """Prints a line for an image."""
    named = ", ".join(f"{printable(one['class'])} {100 * one['probability']:.1f} %" for one in prediction["top"])
    if prediction.get("none_of_these"):
        named = f"{NONE}; nearest to {printable(prediction['nearest'])} ({named})"
    elif prediction["class"] is None:
        named = f"{UNSURE} ({named})"
    if "set" in prediction:
        named += f"; set: {', '.join(map(printable, prediction['set']))}"
    print(f"{printable(prediction['image'])}: {named}", flush=True)


def csv_text(predictions: Sequence[dict[str, Any]], top: int) -> str:
    """Returns a table with a row for each image: path, answer and its probability if it is a class, the `top` likeliest
    classes with theirs, the set where there are sets, and the reason where an image couldn't be read."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = range(1, top + 1)
    columns = [name for i in numbers for name in (f"class_{i}", f"probability_{i}")]
    sets = any("set" in prediction for prediction in predictions)
    writer.writerow(["path", "class", "probability", *columns, *["set"] * sets, "error"])
    for prediction in predictions:
        path = printable(prediction["image"])
        if "error" in prediction:
            writer.writerow([path, *[""] * (2 + len(columns) + sets), prediction["error"]])
            continue
        cells = [cell for one in prediction["top"] for cell in (printable(one["class"]), f"{one['probability']:.6f}")]
        inside = ["; ".join(map(printable, prediction["set"]))] if sets else []
        probability = "" if prediction["class"] is None else cells[1]
        writer.writerow([path, answer_of(prediction), probability, *cells, *inside, ""])
    return out.getvalue()


def summary(predictions: Sequence[dict[str, Any]]) -> str:
    """Returns how many images there were of each class: "12 images: cat 7, dog 4, unsure 1"."""
    answers = [answer_of(prediction) for prediction in predictions if "error" not in prediction]
    counts = join((f"{name} {count:,}" for name, count in Counter(answers).most_common()), 10)
    bad = len(predictions) - len(answers)
    return f"{len(answers):,} images: {counts}" + (f"; {bad:,} that can't be read" if bad else "")


def answer_of(prediction: dict[str, Any]) -> str:
    """Returns the class of an image, UNSURE or NONE."""
    if prediction["class"] is not None:
        return printable(prediction["class"])
    return NONE if prediction.get("none_of_these") else UNSURE
