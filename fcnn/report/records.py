"""A run's numbers on disk: one JSON object a line in `metrics.jsonl`, and the same as TensorBoard events."""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"

# A record: {"kind": "steps" | "epoch" | "test", "split": ..., "weights": "raw" | "ema", "step": ..., "epoch": ...,
# "loss": ..., "top1": ..., "top5": ..., "time": seconds since 1970, UTC} and, by kind, learning_rate, grad_norm,
# images_per_second.
Record = dict[str, Any]

WEIGHTS = {"raw": "raw weights", "ema": "averaged weights"}
"""Names of a record's "weights" in a sentence."""


def better(records: Sequence[Record]) -> Record:
    """Returns, of evaluations of raw and averaged weights after the same step, the one with the higher top-1 accuracy,
    the averaged weights' where they are equal."""
    return max(records, key=lambda record: (record["top1"], record["weights"] == "ema"))


def rank(metrics: Record) -> tuple[float, float]:
    """Returns what evaluations on validation are compared by: the accuracy, of equal ones the loss, as few
    images often give the same accuracy."""
    return metrics["top1"], -metrics.get("loss", 0.0)


def read_records(workdir: Path) -> list[Record]:
    """Returns all whole records of a run, in order; [] if there are none. A last line cut by a kill is left out."""
    path = workdir / FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


class Records:
    """Appends records to a run's files. What a resumed run will do again is removed first.

    Args:
      step: the step that the run resumes from; records after it are dropped.
      quiet: write nothing, as in all processes but the first.
    """

    def __init__(self, workdir: Path, step: int, *, quiet: bool = False) -> None:
        self._quiet = quiet
        if quiet:
            return
        records = [record for record in read_records(workdir) if record["step"] <= step]
        # Written beside and moved into place, so that a kill in between loses nothing.
        temporary = workdir / f"{FILE}.tmp"
        temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        temporary.replace(workdir / FILE)
        self._file = (workdir / FILE).open("a", encoding="utf-8")
        self._board = _tensorboard()(str(workdir / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._quiet:
            self._file.close()
            with contextlib.suppress(OSError):  # a full disk, where metrics.jsonl says the same and more
                self._board.close()

    def write(self, record: Record) -> None:
        """Appends a record with its time, on disk when this returns."""
        if self._quiet:
            return
        record = record | {"time": round(time.time(), 3)}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        group = record["split"] if record["kind"] != "steps" else "train_steps"
        group += "_ema" if record.get("weights") == "ema" else ""
        for name, value in record.items():
            if isinstance(value, float) and name not in ("epoch", "time"):
                self._board.add_scalar(f"{group}/{name}", value, record["step"], walltime=record["time"])


def _tensorboard() -> Any:
    """Returns the class that writes TensorBoard's events, without its import of PyTorch, which takes 3 seconds."""
    modules: dict[str, Any] = sys.modules
    unused = "torch" not in modules
    if unused:
        modules["torch"] = None  # an import of it fails, which tensorboardX expects
    try:
        from tensorboardX import SummaryWriter
    finally:
        if unused:
            del modules["torch"]
    return SummaryWriter
