"""A run's records as they are read again: what is damaged is left out, and a note says what is missing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcnn.utils.text import join

FILE = "metrics.jsonl"
MOST = 10**12
"""A number in a record is smaller, but a loss, which may be anything."""


def read_lines(workdir: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the whole records of a run, in order, and how many lines are none. A last line cut by a kill doesn't
    count."""
    path = workdir / FILE
    if not path.is_file():
        return [], 0
    lines = [line for line in path.read_bytes().split(b"\n")[:-1] if line]
    records = [record for line in lines if (record := _parse(line)) is not None]
    return records, len(lines) - len(records)


def history_note(workdir: Path, epochs: float = 0) -> str | None:
    """Returns what a run's records lack, in a sentence; None if they are whole.

    Args:
      epochs: how many the run has made, where its checkpoints say so.
    """
    records, damaged = read_lines(workdir)
    if missing := missing_epochs(records, epochs):
        names = join(map(str, missing))
        holes = f"without the training records of epoch{'s' * (len(missing) > 1)} {names}: curves have a hole there"
    else:
        holes = ""
    left_out = f"{damaged:,} damaged line{'s' * (damaged > 1)} left out" if damaged else ""
    parts = ", ".join(part for part in (left_out, holes) if part)
    return f"{workdir / FILE}: {parts}" if parts else None


def missing_epochs(records: Sequence[dict[str, Any]], epochs: float = 0) -> list[int]:
    """Returns the epochs that ended, by the last record or by `epochs`, and have no record of training."""
    train = [r["epoch"] for r in records if r["kind"] == "epoch" and r["split"] == "train"]
    last = max([epochs, *train])
    return sorted({*range(1, int(last) + 1)} - {*train}) if last < 10**6 else []


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns the record that a line is; None if it is damaged."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _is_whole(record) else None


def _is_whole(record: dict[str, Any]) -> bool:
    named = all(isinstance(record.get(name), str) for name in ("kind", "split"))
    numbers = [record.get(name) for name in ("epoch", "top1")]
    numbers += [record[name] for name in ("top5", "images_per_second", "learning_rate", "time") if name in record]
    if not named or record.get("weights") not in ("raw", "ema") or not all(map(_is_number, numbers)):
        return False
    if not (_is_count(record.get("step")) and isinstance(record.get("loss"), float | int)):
        return False
    return record["kind"] != "test" or _is_whole_test(record)


def _is_whole_test(record: dict[str, Any]) -> bool:
    interval, classes = record.get("interval"), record.get("images", {})
    tables = [record[name] for name in ("precision", "recall", "f1") if name in record]
    return (
        isinstance(interval, list)
        and len(interval) == 2
        and all(map(_is_number, interval))
        and all(_is_count(record.get(name)) for name in ("count", "checkpoint"))
        and isinstance(classes, dict)
        and all(map(_is_count, classes.values()))
        and all(isinstance(table, dict) and table.keys() == classes.keys() for table in tables)
        and all(value is None or _is_number(value) for table in tables for value in table.values())
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -MOST < value < MOST  # false of NaN


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST
