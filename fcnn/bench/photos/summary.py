"""From the records of cells to a table: of PyTorch's grid, the point that is best on validation."""

import statistics
from collections.abc import Sequence
from typing import Any

CONTENDERS = ("fcnn", "torch", "logistic regression")


def best_point(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the point of PyTorch's grid with the highest validation accuracy (of equal ones, the lowest loss) in the
    first split, the only one on which all points are trained: {"rate", "freeze_batch_norm"}."""
    best = max(_first_split(records), key=lambda r: (r["validation"]["top1"], -r["validation"]["loss"]))
    return {key: best[key] for key in ("rate", "freeze_batch_norm")}


def summarize(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each contender and number of images.

    Returns:
      {"contender", "images_per_class", "mean", "std" (of the test accuracy, 0 to 1; 0 with one seed), "n", "seconds"
      (the mean of a training)}; of torch, which is its best point, also this point and "grid": the "points" that were
      trained on the first split, the "seconds" of all of them, and "worst" and "best", their accuracies on its test
      images, which nobody could have chosen by.
    """
    rows = []
    for size in dict.fromkeys(record["images_per_class"] for record in records):
        for contender in CONTENDERS:
            own = [r for r in records if (r["contender"], r["images_per_class"]) == (contender, size)]
            if own:
                rows.append(_torch_row(own) if contender == "torch" else _row(own))
    return rows


def _row(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    accuracies = [record["top1"] for record in records]
    return {
        **{key: records[0][key] for key in ("contender", "images_per_class")},
        "mean": statistics.fmean(accuracies),
        "std": statistics.stdev(accuracies) if len(records) > 1 else 0.0,
        "n": len(records),
        "seconds": statistics.fmean(record["seconds"] for record in records),
    }


def _torch_row(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    point, tried = best_point(records), _first_split(records)
    accuracies = [record["top1"] for record in tried]
    grid = {"points": len(tried), "seconds": sum(record["seconds"] for record in tried)}
    grid |= {"worst": min(accuracies), "best": max(accuracies)}
    return _row([r for r in records if point.items() <= r.items()]) | point | {"grid": grid}


def _first_split(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["seed"] == records[0]["seed"]]
