"""A run in progress: the order of events from one step to the next, and what has to be remembered between them."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.distributed import processes, sharding
from fcnn.report import Console, Records, draw_curves, read_records, write_page
from fcnn.report.fit import curve, lag
from fcnn.report.page import FILE as PAGE
from fcnn.report.records import Record, better
from fcnn.runtime.signals import Interrupt, Interrupted
from fcnn.training import workdir as folder
from fcnn.training.checkpoint import Checkpoints, Weights
from fcnn.training.features import on_features
from fcnn.training.metric_log import MetricLog, NonFinite
from fcnn.training.metrics import wilson
from fcnn.training.predictions import describe
from fcnn.training.setup import TrainSetup, compile_evaluation, compile_train_step, train_items, train_pipeline
from fcnn.training.state import TrainState
from fcnn.utils.errors import UserError

PIPELINES = {"device": "images on the device", "stream": "images streamed"}
FEW = 50
"""With fewer validation images their accuracy is worth a line."""
WAITING = 0.2
"""A larger share of the time than this spent in waiting for images is worth a line."""


class Run:
    """What a run remembers; `train` takes it to its end."""

    def __init__(
        self,
        setup: TrainSetup,
        workdir: Path,
        checkpoints: Checkpoints,
        console: Console,
        *,
        test: bool,
        judge: Callable[[Record], None] | None,
    ) -> None:
        """Restores or draws the state, opens the records."""
        self.setup, self.workdir, self.checkpoints, self.console = setup, workdir, checkpoints, console
        self.test, self.judge = test, judge
        self.boundary_done = False  # whether the lines and the evaluation due at this step are behind us
        self.validate: Callable[[Any], dict[str, Any]] | None = None

        rates = np.asarray(jax.vmap(setup.schedule)(jnp.arange(setup.total_steps)))
        self.metric_log = MetricLog(rates, setup.steps_per_epoch, setup.config.train.log_steps)
        self.state = setup.init_state()
        restored = checkpoints.restore_newest(self.state, console.log)
        if restored is not None:
            self.state, meta = restored
            self.metric_log.load(meta["meter"])
            self.boundary_done = meta["boundary_done"]
        else:
            self.state = setup.start_state(console.log)
        self.step = int(self.state.step)
        checkpoints.discard_after(self.step)
        self.records = Records(workdir, self.step, silent=not processes.is_first())
        self.signals = processes.Signals(setup.mesh)
        self._introduce(going_on=restored is not None)

    def _compile(self) -> None:
        """The step and the evaluation on validation."""
        setup, began = self.setup, time.perf_counter()
        source = on_features(setup, self.state.variables)
        pipeline = train_pipeline(source)
        self.items = train_items(source, pipeline, self.step)
        self.train_step = compile_train_step(source, self.state, pipeline)
        if len(setup.dataset.validation):
            self.validate = compile_evaluation(source, self.state.variables, source.dataset.validation)
        self.console.log(f"Compiled in {time.perf_counter() - began:.1f} s.")

    def _introduce(self, *, going_on: bool) -> None:
        setup, data, device = self.setup, self.setup.dataset, self.setup.mesh.devices.flat[0].device_kind
        how = setup.config.parallel
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        self.console.log(
            f"{setup.config.model.name}, {parameters:,} parameters, on {data.name}: {len(data.train):,} training, "
            f"{len(data.validation):,} validation, {len(data.test):,} test images; {setup.total_steps:,} steps on "
            f"{setup.mesh.size} x {device} by {how.mode}, {PIPELINES[data.pipeline]}, convolutions by "
            f"{sharding.convolutions(setup.mesh, how)}; {self.workdir}"
        )
        if data.skipped:
            names = ", ".join(data.skipped[:3]) + (" ..." if len(data.skipped) > 3 else "")
            self.console.log(f"Left out {len(data.skipped)} files that can't be read: {names} (all in {folder.DATA})")
        for note in data.notes:
            self.console.log(f"Note: {note}")
        if 0 < len(data.validation) < FEW:
            self.console.log(f"Note: {few_images(len(data.validation))}")
        if 0 < setup.total_steps <= setup.warmup:
            self.console.log(
                f"Note: the warm-up takes {setup.warmup:,} steps and the run has {setup.total_steps:,}: the learning "
                "rate never reaches its peak. Lower --optim.warmup-epochs or train longer."
            )
        if going_on:
            self.console.log(f"Going on from step {self.step:,} of {setup.total_steps:,}.")

    def train(self, interrupt: Interrupt) -> Record:
        """The order of events, to the end of the run. A signal ends it at once, in the loop once the state is saved."""
        total = self.setup.total_steps
        if self.step < total or (total and not self.boundary_done):
            self._compile()
        with interrupt.deferred("finishing the step, then saving"):
            self.metric_log.start_clock()
            if total == 0:  # nothing to learn: what is evaluated is saved as it came
                self.save()
            while True:
                if self.at_boundary() and not self.boundary_done:
                    self.end_stretch()
                if (received := self.signals.any(interrupt.received)) is not None:
                    self.save()
                    self.checkpoints.wait()
                    raise Interrupted(received)
                if self.step >= total:
                    break
                self.one_step()
            self.checkpoints.wait()
        return self.finish()

    def one_step(self) -> None:
        """One update; numbers are fetched when the next step is already on its way."""
        setup, settings = self.setup, self.setup.config.train
        streamed = setup.dataset.pipeline == "stream"
        item = self.metric_log.next_item(self.items, self.state) if streamed else next(self.items)
        self.state, report = self.train_step(self.state, item)
        if self.step % settings.log_steps == 0:
            self._drain(self.step)
        self.step += 1
        self.boundary_done = False
        self.metric_log.add(self.step, report)
        self.console.step(
            self.step, (self.step - 1) // setup.steps_per_epoch, setup.total_steps / setup.steps_per_epoch
        )
        if settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0 and not self.at_boundary():
            self.save()

    def _drain(self, upto: int) -> None:
        for record in self.metric_log.drain(upto):
            self.records.write(record)
            self.console.interval(record, self.metric_log.images_per_second())

    def _epoch_ends(self) -> bool:
        return self.step > 0 and (self.step % self.setup.steps_per_epoch == 0 or self.step == self.setup.total_steps)

    def _evaluation_due(self) -> bool:
        return self.step > 0 and (self.step % self.setup.eval_every == 0 or self.step == self.setup.total_steps)

    def at_boundary(self) -> bool:
        """Whether an epoch ends or an evaluation is due at this step."""
        return self._epoch_ends() or self._evaluation_due()

    def end_stretch(self) -> None:
        """The epoch's line, the evaluation, the checkpoint: whichever are due at this step."""
        self._drain(self.step)
        waiting = self.metric_log.waiting_share()
        records = [self.metric_log.end_epoch(self.step)] if self._epoch_ends() else []
        evaluations = self._evaluate() if self._evaluation_due() else []
        for record in records + evaluations:
            self.records.write(record)
        self.boundary_done = True
        if self._evaluation_due():
            self.save(evaluations)
        self.console.epoch(records + evaluations)  # once it is saved: nobody may be there to read it any more
        decay = self.setup.config.train.ema_decay
        if decay is not None and self.step == self.setup.total_steps and (note := lag(evaluations, decay)):
            self.console.log(f"Note: {note}")
        if waiting > WAITING:
            self.console.log(f"Input-bound: {waiting:.0%} of the time is spent waiting for images.")
        if self.judge and evaluations and self.step < self.setup.total_steps:
            self.judge(better(evaluations))
        self.metric_log.start_clock()

    def _evaluate(self) -> list[Record]:
        """Evaluates the raw and the averaged weights on validation; [] without a validation split."""
        if self.validate is None:
            return []
        weights = {"raw": self.state.variables} | ({"ema": self.state.ema} if self.state.ema else {})
        where = {"kind": "epoch", "split": "validation", "step": self.step}
        where["epoch"] = self.step / self.setup.steps_per_epoch
        return [where | {"weights": name} | self.validate(variables) for name, variables in weights.items()]

    def save(self, evaluations: Sequence[Record] = ()) -> None:
        """Starts a checkpoint of this step, after making sure that it's a good one; it is ranked by the better of
        `evaluations`.

        Raises:
          NonFinite: it isn't; nothing is saved.
        """
        self._drain(self.step)
        if not sharding.all_finite(self.state):
            raise NonFinite(f"the state is not finite after step {self.step}; try a lower --optim.learning-rate")
        metrics: dict[str, Any] | None = None
        if evaluations:
            each = {record["weights"]: {name: record[name] for name in ("top1", "loss")} for record in evaluations}
            name = better(evaluations)["weights"]
            metrics = each[name] | {"weights": name} | each
        self.checkpoints.save(
            self.state, {"meter": self.metric_log.state(), "boundary_done": self.boundary_done}, metrics
        )

    def finish(self) -> Record:
        """Reads the test split, once in a run's life, then draws the curves and writes the page that tells it all;
        without a test, the curves alone.

        Everything of the run is on disk: whoever is stopped in here finishes by the same command again.
        """
        best_step = self.checkpoints.best_step()
        if not self.test:
            self._report("curves.png", lambda: self._draw(best_step))
            return best_of(read_records(self.workdir))
        best = best_weights(self.checkpoints, self.state, self.console)
        record = tested(read_records(self.workdir), self.step)
        if record is None:
            found = evaluate_best(self.setup, best, "test")
            record = found | {"kind": "test", "step": self.step, "checkpoint": found["step"]}
            record["convolutions"] = sharding.convolutions(self.setup.mesh, self.setup.config.parallel)
            record["skipped"] = len(self.setup.dataset.skipped)
            if processes.is_first():
                (self.workdir / PAGE).unlink(missing_ok=True)  # of the shorter run that this one was
            self.records.write(record)
        self._report("curves.png", lambda: self._draw(best_step))
        self._report(PAGE, lambda: self._write_page(best, best_step))
        return record

    def _report(self, name: str, write: Callable[[], None]) -> None:
        """Writes a file that can be written again: where that fails, the run has its result all the same."""
        try:
            write()
        except Exception as error:
            reason = str(error).partition("\n")[0] if isinstance(error, UserError) else repr(error)
            self.console.log(f"{name} could not be written: {reason}")

    def _draw(self, best_step: int | None) -> None:
        if processes.is_first():
            title = f"{self.setup.config.model.name} on {self.setup.dataset.name}"
            draw_curves(self.workdir, title, best_step, smoothed=self.setup.config.optim.label_smoothing > 0)

    def _write_page(self, best: "BestWeights", best_step: int | None) -> None:
        insight = describe(self.setup, best.variables, best_step)
        if processes.is_first():
            write_page(self.workdir, insight)


def tested(records: Sequence[Record], step: int) -> Record | None:
    """The test record of a run that ended at a step, without its time: the same run has the same result."""
    found = (record for record in records if record["kind"] == "test" and record["step"] == step)
    return next(({name: value for name, value in record.items() if name != "time"} for record in found), None)


@dataclasses.dataclass(frozen=True)
class BestWeights:
    """The weights that a run's results are of."""

    step: int
    weights: Weights
    variables: Any
    """{"params", "batch_stats"}, on the devices."""


def best_weights(checkpoints: Checkpoints, like: TrainState, console: Console) -> BestWeights:
    """Restores the best checkpoint on validation, or the newest that can be read if none was evaluated; of raw and
    averaged weights, those that were better on validation, or the averaged ones.

    Raises:
      UserError: there is no checkpoint, or it can't be read.
    """
    best = checkpoints.best_step()
    restored = checkpoints.restore(like, best) if best is not None else checkpoints.restore_newest(like, console.log)
    if restored is None:
        raise UserError("there is no checkpoint yet")
    state, step = restored[0], int(restored[0].step)
    weights = checkpoints.better_weights(step) if state.ema is not None else "raw"
    return BestWeights(step, weights, state.ema if weights == "ema" else state.variables)


def evaluate_best(setup: TrainSetup, best: BestWeights, split: str) -> Record:
    """Evaluates them on a split, in detail."""
    images = getattr(setup.dataset, split)
    where = {"split": split, "weights": best.weights, "step": best.step, "epoch": best.step / setup.steps_per_epoch}
    found = compile_evaluation(setup, best.variables, images, details=True)(best.variables)
    return where | {"count": len(images)} | found


def best_of(records: Sequence[Record]) -> Record:
    """The evaluation on validation with the best accuracy, the latest of equals."""
    return max(curve(records, "validation"), key=lambda r: (r["top1"], r["step"]))


def few_images(count: int) -> str:
    """How little the accuracy on `count` validation images means, by an example."""
    hits = round(0.8 * count)
    low, high = wilson(hits, count)
    return (
        f"the best epoch is chosen by {count} validation images, which is few: {hits} of {count} right is an accuracy "
        f"with a 95 % interval of {100 * low:.0f} to {100 * high:.0f} %"
    )
