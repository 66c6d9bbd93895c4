"""Trains for long: 20,000 steps with 500 evaluations, then 2,000 checkpoints, by case.

Promised: memory, open files and threads stay what they are after the first tenth, and no more checkpoints are on disk
than the retention says. The processor's time of a step is recorded, not judged.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import start

GROWTH = 8
"""MiB in a whole run that are no growth: what malloc keeps differs from one moment to another."""
LEAK = 0.04
"""MiB for each checkpoint: TensorStore 0.1.86 loses some at each conversion of JSON, `ts.KvStore.Spec.to_json`."""
KEPT = 4
"""Checkpoints: the newest two, the best one and one that is being written."""
OPTIONS = "--config resnet --model.name mlp --train.batch-size 32 --optim.warmup-epochs 1 --train.ema-decay 0.9"
PROGRAM = Path(__file__).with_name("_watched_run.py")
RUNS = (
    ("--train.steps 20000 --train.eval-steps 40 --train.log-steps 20", 500),
    ("--train.steps 2000 --train.eval-steps 2000 --train.log-steps 10 --train.checkpoint-steps 1", 2000),
)
"""Options, and the number of checkpoints that they ask for: each evaluation is followed by one."""


def case(number: int, folder: Path) -> tuple[str, str | None]:
    return soak(*RUNS[number % len(RUNS)], folder)


def soak(options: str, saved: int, folder: Path) -> tuple[str, str | None]:
    """Trains and watches; returns what was measured, and what grew."""
    with start(str(PROGRAM), *OPTIONS.split(), *options.split(), "--workdir", "run", cwd=folder) as process:
        out, err = process.communicate()
    if process.returncode != 0:
        return options, f"exit code {process.returncode}: {out}{err}"
    rows = [json.loads(line) for line in (folder / "run.watched").read_text().splitlines()]
    rows = [row for row in rows if row["step"] > rows[-1]["step"] / 10]
    steps = np.array([row["step"] for row in rows])
    growth = {name: _growth(steps, [row[name] for row in rows]) for name in ("memory", "files", "threads")}
    quarter = len(rows) // 4
    first, last = (_step_time(part) for part in (rows[:quarter], rows[-quarter:]))
    checkpoints = max(row["checkpoints"] for row in rows)
    what = (
        f"{options}: {rows[-1]['memory']:.0f} MiB, by least squares {growth['memory']:+.1f} MiB over the run, "
        f"{rows[-1]['files']} open files {growth['files']:+.2f}, {rows[-1]['threads']} threads "
        f"{growth['threads']:+.2f}, {1000 * first:.2f} ms of processor time a step at first, {1000 * last:.2f} ms at "
        f"last, up to {checkpoints} checkpoints"
    )
    bad = [
        growth["memory"] > GROWTH + LEAK * saved,
        growth["files"] > 2,
        growth["threads"] > 2,
        checkpoints > KEPT,
    ]
    return what, what if any(bad) else None


def _growth(steps: np.ndarray, values: Sequence[float]) -> float:
    """The slope by least squares times the length of the run."""
    return float(np.polyfit(steps, values, 1)[0] * (steps[-1] - steps[0]))


def _step_time(rows: Sequence[dict[str, Any]]) -> float:
    """Processor time from one record to the next, the median, by steps: some have an evaluation or a checkpoint."""
    times = np.diff([row["time"] for row in rows]) / np.diff([row["step"] for row in rows])
    return float(np.median(times))
