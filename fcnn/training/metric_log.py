"""What the steps report, added up on the host into lines; and the alarm when it stops being a number."""

import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import optax

from fcnn.distributed import sharding
from fcnn.report.records import Record
from fcnn.training.step import StepReport

NAMES = ("count", "loss", "top1", "top5")
WAITS = 1 / 8
"""Share of the steps before which it is measured how long the device waits for its images."""


def _zeros() -> dict[str, float]:
    return dict.fromkeys(NAMES, 0.0)


class NonFinite(Exception):
    """The loss or a gradient is infinite or not a number: step, learning rate, gradients by layer, what to try."""


class MetricLog:
    """Sums of metrics over the logging interval and over the epoch.

    Reports stay on the device until they are drained, some steps later and many at once, so that asking for numbers
    doesn't hold up the steps. The sums are Python floats added in the order of the steps: a run that
    continues with another's sums gets the same means, bit for bit.

    Args:
      schedule: the learning rate by step, from 0; None where nobody knows it.
      steps_per_epoch: for the fractional epoch in a record.
      log_steps: steps between records.
    """

    def __init__(self, schedule: optax.Schedule | None, steps_per_epoch: int, log_steps: int) -> None:
        self._schedule = None if schedule is None else jax.jit(schedule)
        self._steps_per_epoch, self._log_steps = steps_per_epoch, log_steps
        self._pending: list[tuple[int, StepReport]] = []
        self._interval = self._epoch = _zeros()
        self._grad_norm = 0.0
        self._last_norms: dict[str, float] = {}
        self.start_clock()

    def state(self) -> dict[str, Any]:
        """The sums so far, to be kept in a checkpoint; drain first."""
        return {"interval": self._interval, "epoch": self._epoch, "grad_norm": self._grad_norm}

    def load(self, state: dict[str, Any]) -> None:
        """Continues from another log's `state`."""
        self._interval, self._epoch, self._grad_norm = state["interval"], state["epoch"], state["grad_norm"]

    def start_clock(self) -> None:
        """Begins to measure throughput, after a pause for something else."""
        self._began, self._images = time.perf_counter(), 0
        self._asked, self._waits = 0, []

    def images_per_second(self) -> float:
        """Throughput since the clock was started."""
        return self._images / max(time.perf_counter() - self._began, 1e-9)

    def next_item(self, items: Iterator[Any], busy: Any) -> Any:
        """The next of `items`; before some, how long a device with nothing to do waits for it.

        Waiting holds something up only once `busy`, what the device is working on, is ready; to ask for that before
        every step would cost what running ahead saves.
        """
        # Multiples of the golden ratio are even over any period: threads deliver in bursts.
        timed = (0.5 + 0.6180339887 * self._asked) % 1 < WAITS
        self._asked += 1
        if not timed:
            return next(items)
        jax.block_until_ready(busy)
        began = time.perf_counter()
        item = next(items)
        self._waits.append(time.perf_counter() - began)
        return item

    def waiting_share(self) -> float:
        """The share of the time since the clock was started that went in waiting for items; 0 if too few were timed."""
        if len(self._waits) < 4:
            return 0.0
        mean = sum(self._waits) / len(self._waits)
        return mean * self._asked / max(time.perf_counter() - self._began, 1e-9)

    def add(self, step: int, report: StepReport) -> None:
        """Takes the report of the step that led to `step` updates, without waiting for it."""
        self._pending.append((step, report))

    def drain(self, upto: int) -> list[Record]:
        """Fetches the reports up to a step and returns the records of the intervals that ended.

        Raises:
          NonFinite: one of them holds a loss or gradient that isn't a number.
        """
        ready = [pair for pair in self._pending if pair[0] <= upto]
        self._pending = self._pending[len(ready) :]
        records = []
        for step, report in sharding.to_host(ready):
            self._check(int(step), report)
            sums = {name: float(getattr(report.metrics, name)) for name in NAMES}
            self._interval = {name: self._interval[name] + sums[name] for name in NAMES}
            self._epoch = {name: self._epoch[name] + sums[name] for name in NAMES}
            self._images += int(sums["count"])
            if step % self._log_steps == 0:
                extra = self._rate(step) | {"grad_norm": self._grad_norm}
                records.append(self._record("steps", int(step), self._interval) | extra)
                self._interval, self._grad_norm = _zeros(), 0.0
        return records

    def end_epoch(self, step: int) -> Record:
        """The record of the epoch that ends at `step`; drain first."""
        record = self._record("epoch", step, self._epoch) | self._rate(int(step))
        self._epoch = _zeros()
        return record | {"images_per_second": self.images_per_second()}

    def _rate(self, step: int) -> dict[str, float]:
        return {} if self._schedule is None else {"learning_rate": float(self._schedule(step - 1))}

    def _record(self, kind: str, step: int, sums: dict[str, float]) -> Record:
        means = {name: sums[name] / sums["count"] for name in NAMES[1:]}
        epoch = step / self._steps_per_epoch
        return {"kind": kind, "split": "train", "weights": "raw", "step": step, "epoch": epoch} | means

    def _check(self, step: int, report: StepReport) -> None:
        """Raises NonFinite unless all is finite; remembers the norms, for the day when it isn't."""
        flat, _ = jax.tree_util.tree_flatten_with_path(report.grad_norms)
        norms = {jax.tree_util.keystr(path, simple=True, separator="/"): float(norm) for path, norm in flat}
        loss, total = float(report.metrics.loss), math.hypot(*norms.values())
        if math.isfinite(loss) and math.isfinite(total):
            self._grad_norm = max(self._grad_norm, total)
            self._last_norms = norms
            return
        bad = [name for name, norm in norms.items() if not math.isfinite(norm)]
        known = {name: norm for name, norm in norms.items() if math.isfinite(norm)} or self._last_norms
        when = "then" if len(bad) < len(norms) else "the step before"
        largest = sorted(known, key=lambda name: -known[name])[:5]
        rate = "".join(f", learning rate {value:g}" for value in self._rate(step).values())
        norms_line = f"Largest gradient norms {when}: {', '.join(f'{name} {known[name]:.3g}' for name in largest)}.\n"
        remedy = "Try a lower --optim.learning-rate, a longer --optim.warmup-epochs or --optim.clip-norm 1"
        if not bad:
            remedy = "Look for labels that are no class, pixels that aren't finite, and errors in a loss of your own"
        raise NonFinite(
            f"the loss is {loss / float(report.metrics.count):g} at step {step}{rate}; "
            f"{len(bad)} of {len(norms)} gradients are not finite.\n"
            f"{norms_line if largest else ''}"
            f"{remedy}."
        )
