"""The last lines of `fcnn train`: how good a run is, several seeds of it, or one beside another."""

import statistics
from pathlib import Path
from typing import Any

from fcnn.config import Config
from fcnn.utils.text import short

FILES = ("metrics.jsonl", "tensorboard", "curves.png", "report.html")
"""What a run leaves beside its checkpoints."""


def log_result(record: dict[str, Any], config: Config, folder: Path, console: Any) -> None:
    """Where everything is, and the accuracy on the test split."""
    from fcnn.report.fit import curve
    from fcnn.report.records import WEIGHTS, read_records

    weights = f", {WEIGHTS[record['weights']]}" if config.averages_weights else ""
    best = f"the best on validation{weights}"
    if not curve(read_records(folder), "validation"):
        best = f"the last{weights}, as no validation split was held out"
    if record.get("checkpoint", record["step"]) == 0:
        starts = {"linear_probe": "the linear probe", "extend": "the network that it started from"}
        best = starts.get(config.transfer.head_init, "the pretrained weights")
    low, high = record["interval"]
    *files, last = [name for name in FILES if (folder / name).exists()]  # a picture may not have been written
    console.log(f"Checkpoints, {', '.join(files)} and {last} are in {folder}")
    if record.get("skipped"):  # records of older runs don't say
        console.log(f"{record['skipped']} files that can't be read were left out; data.json lists them")
    console.log(
        f"Test accuracy {100 * record['top1']:.2f} % ({_hits(record)} of {record['count']}; 95 % CI "
        f"{100 * low:.2f} to {100 * high:.2f} %), loss {record['loss']:.4f}: epoch {short(record['epoch'])}, {best}"
    )


def log_seeds(runs: list[dict[str, Any]], folder: Path, console: Any) -> dict[str, Any]:
    """Mean and standard deviation over seeds; returns them with the runs."""
    accuracies = [run["top1"] for run in runs]
    summary = {
        "workdir": str(folder),
        "n": len(runs),
        "mean": statistics.fmean(accuracies),
        "std": statistics.stdev(accuracies) if len(runs) > 1 else 0.0,
        "runs": runs,
    }
    console.log(
        f"Test accuracy over {len(runs)} seeds: mean {100 * summary['mean']:.2f} %, standard deviation "
        f"{100 * summary['std']:.2f} points ({', '.join(f'{100 * a:.2f}' for a in accuracies)}); runs are in {folder}"
    )
    return summary


def log_comparison(config: Config, record: dict[str, Any], other: dict[str, Any], console: Any) -> None:
    """Logs two strategies as a table, and which is better."""
    compare = str(config.transfer.compare)
    names = [f"{config.transfer.strategy}, from {config.transfer.weights}", compare]
    width = max(map(len, names))
    console.log(f"\n{'':{width}}   test accuracy             95 % CI  correct")
    for name, one in zip(names, (record, other), strict=True):
        low, high = one["interval"]
        console.log(
            f"{name:{width}}  {100 * one['top1']:>12.2f} %  {100 * low:>6.2f} to {100 * high:>6.2f} %  "
            f"{_hits(one)} of {one['count']}"
        )
    points = 100 * (record["top1"] - other["top1"])
    verdict = f"{names[0] if points > 0 else compare} is better by {abs(points):.2f} points" if points else "A draw"
    console.log(f"{verdict}: the same images and seed, {record['step']:,} and {other['step']:,} steps.")


def _hits(record: dict[str, Any]) -> int:
    return round(record["top1"] * record["count"])
