"""A run's numbers on disk: one JSON object a line in `metrics.jsonl`, and the same as TensorBoard events."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fcnn.report.events import EventFile
from fcnn.report.history import FILE, read_lines
from fcnn.utils.errors import UserError
from fcnn.utils.files import append, write_bytes

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
    """Returns all whole records of a run, in order; [] if there are none. `history_note` says what is missing."""
    return read_lines(workdir)[0]


class Records:
    """Appends records to a run's files. What a resumed run will do again is removed first.

    Args:
      step: the step that the run resumes from; records after it are dropped.
      log: gets a line when TensorBoard's events can't be written.
      quiet: write nothing, as in all processes but the first.

    Raises:
      UserError: the records can't be written; so do the methods.
    """

    def __init__(self, workdir: Path, step: int, log: Callable[[str], None], *, quiet: bool = False) -> None:
        self._quiet = quiet
        if quiet:
            return
        self._path, self._log, self._events = workdir / FILE, log, None
        records = [record for record in read_records(workdir) if record["step"] <= step]
        write_bytes(self._path, "".join(json.dumps(record) + "\n" for record in records).encode())
        with self._names_the_file():
            self._file = self._path.open("ab", buffering=0)
        with self._without_events():
            self._events = EventFile(workdir / "tensorboard", step + 1)

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._quiet:
            self._file.close()
            if self._events is not None:
                self._events.close()

    def write(self, record: Record) -> None:
        """Appends a record with its time."""
        if self._quiet:
            return
        record = record | {"time": round(time.time(), 3)}
        with self._names_the_file():
            append(self._file, (json.dumps(record) + "\n").encode())
        group = record["split"] if record["kind"] != "steps" else "train_steps"
        group += "_ema" if record.get("weights") == "ema" else ""
        scalars = {name: x for name, x in record.items() if isinstance(x, float) and name not in ("epoch", "time")}
        with self._without_events():
            if self._events is not None:
                named = {f"{group}/{name}": x for name, x in scalars.items()}
                self._events.write(record["step"], record["time"], named)

    def sync(self) -> None:
        """Returns when all records are on disk, safe from a power cut."""
        if not self._quiet:
            with self._names_the_file():
                os.fsync(self._file.fileno())

    @contextlib.contextmanager
    def _names_the_file(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._path} can't be written: {error.strerror}") from None

    @contextlib.contextmanager
    def _without_events(self) -> Iterator[None]:
        """Goes on without TensorBoard's events if they can't be written: metrics.jsonl says the same and more."""
        try:
            yield
        except OSError as error:
            self._log(f"TensorBoard's events can't be written any more: {error.strerror}; {FILE} has the numbers")
            if self._events is not None:
                self._events.close()
                self._events = None
