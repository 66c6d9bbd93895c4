"""Training a network, from its config to its test result: the page to read first.

`train` opens the run's folder and builds what the run needs; `Trainer` takes the steps, logs, evaluates and saves.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcnn.config import Config
from fcnn.distributed import processes, sharding
from fcnn.report import Console, Records, read_records
from fcnn.report.fit import curve, lag, out_of_patience
from fcnn.report.history import history_note
from fcnn.report.page import FILE as PAGE
from fcnn.report.records import Record, better
from fcnn.runtime.signals import Interrupt, Interrupted
from fcnn.training import workdir as folder
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.evaluate import best_weights, compile_evaluation, evaluate_best
from fcnn.training.features import on_features
from fcnn.training.held_out import HeldOut
from fcnn.training.linear_probe import LinearProbe
from fcnn.training.metric_log import MetricLog, NonFinite
from fcnn.training.notes import introduction
from fcnn.training.overrides import Overrides, check_callbacks
from fcnn.training.results import best_of, test_record, write_curves, write_report
from fcnn.training.run_data import build
from fcnn.training.setup import TrainSetup, compile_train_step
from fcnn.training.start import start_state
from fcnn.utils.errors import UserError

Callback = Callable[[Record], None]
"""Called with each record once it is written; what it raises ends the run, whose checkpoints stay."""
INPUT_BOUND = 0.2
"""A larger share of the time than this spent waiting for images is worth a line."""


def train(
    config: Config,
    workdir: Path,
    console: Console,
    *,
    overrides: Overrides | None = None,
    callbacks: Sequence[Callback] = (),
    test: bool = True,
    choice: Mapping[str, Any] | None = None,
    probe: LinearProbe | None = None,
    held_out: HeldOut | None = None,
) -> Record:
    """Trains to the end of the run in `workdir`, from its newest checkpoint if it has one.

    Args:
      overrides: what the user passes in place of what the config names.
      callbacks: called with each record, {"kind": "steps", "epoch" or "test", "split", "weights", "step", ...}.
      test: whether to read the test split at the end. Without it the run stays open: the same call with it continues.
      choice: how the config was chosen, kept beside it.
      probe: the linear probe of the run's training images, if it was fitted already; changes nothing but the time.
      held_out: what networks that were trained like this one say about training images that they didn't see.

    Returns:
      Without `test` the record of the best evaluation on validation; else the test record: {"kind": "test", "split":
      "test", "weights", "step", "checkpoint" (the step of the state that was tested), "epoch" (that state's), "count",
      "loss", "top1", "top5", "interval", "precision", "recall", "f1", "images", "macro" (as
      `evaluate.class_metrics` has them), "convolutions" (what computed them), "skipped" (how many files were left
      out)}.

    Raises:
      UserError: the folder belongs to another config, or the config doesn't fit the data or the devices.
      NonFinite: the loss or a gradient is not finite.
      Interrupted: a signal (see `fcnn.runtime.signals`) came in training; the state is saved.
      Stopped: it came before or after that; there was nothing to save.
    """
    overrides = overrides or Overrides()
    check_callbacks(callbacks)
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        config = folder.resolved(config)
        with processes.together():
            folder.check(workdir, config)
        setup = build(config, console, workdir, overrides)
        done = max((record["step"] for record in read_records(workdir)), default=0)
        if done > setup.total_steps:
            raise UserError(
                f"the run in {workdir} has {done} steps already, more than the {setup.total_steps} of this command"
            )
        early = out_of_patience(curve(read_records(workdir), "validation"), setup.patience)
        if (workdir / PAGE).exists() and (record := test_record(workdir, done if early else setup.total_steps)):
            console.log(f"The run in {workdir} is finished.")
            return record
        with processes.together():
            if processes.is_first():
                stack.enter_context(folder.claim(workdir, config, choice, held_out))
                manifest = setup.dataset.manifest
                facts = setup.dataset.facts() | {"overrides": overrides.names()}
                folder.write_data(workdir, facts, None if manifest is None else manifest.to_csv())
        max_to_keep, keep_best = config.train.max_to_keep, config.train.keep_best
        checkpoints = stack.enter_context(
            Checkpoints(workdir / "checkpoints", max_to_keep=max_to_keep, keep_best=keep_best)
        )
        stack.enter_context(processes.bound(NonFinite, Interrupted))
        trainer = Trainer(setup, workdir, checkpoints, console, callbacks=callbacks, probe=probe)
        with trainer.records, console.progress_bar(total=setup.total_steps, done=trainer.step):
            try:
                trainer.train(interrupt)
            except NonFinite as error:
                checkpoints.wait()
                step = next(reversed(checkpoints.steps()), None)
                note = "There is no checkpoint yet" if step is None else f"The checkpoint of step {step} stays"
                raise NonFinite(f"{error}\n{note}; {workdir}") from None
            return trainer.finish(test=test)


class Trainer:
    """A run in progress: its state, and what has to be remembered between two steps."""

    def __init__(
        self,
        setup: TrainSetup,
        workdir: Path,
        checkpoints: Checkpoints,
        console: Console,
        *,
        callbacks: Sequence[Callback] = (),
        probe: LinearProbe | None = None,
    ) -> None:
        """Restores or initializes the state, opens the records."""
        self.setup, self.workdir, self.checkpoints, self.console = setup, workdir, checkpoints, console
        self.callbacks = callbacks
        self.boundary_done = False  # whether the records, the evaluation and the checkpoint of this step are written
        self.validate: Callable[[Any], dict[str, Any]] | None = None
        self.metric_log = MetricLog(setup.schedule, setup.steps_per_epoch, setup.config.train.log_steps)
        self.state = setup.init_state()
        restored = checkpoints.restore_newest(self.state, console.log)
        if restored is not None:
            self.state, meta = restored
            self.metric_log.load(meta["metric_log"])
            self.boundary_done = meta["boundary_done"]
        else:
            self.state = start_state(setup, console.log, probe=probe, workdir=workdir)
        self.step = int(self.state.step)
        done = self.step if restored else -1  # the state before the first step may have an evaluation, too
        self.validations = [r for r in curve(read_records(workdir), "validation") if r["step"] <= done]
        checkpoints.discard_after(self.step)
        ended = (self.step - (not self.boundary_done)) / setup.steps_per_epoch  # an epoch at its last step hasn't yet
        notes = history_note(workdir, ended), checkpoints.note()  # before the records are written again, without damage
        self.records = Records(workdir, done, console.log, quiet=not processes.is_first())
        self.signals = processes.Signals(setup.mesh)
        for line in introduction(setup, self.state):
            console.log(line)
        console.log(f"Workdir: {workdir}")
        if restored is not None:
            console.log(f"Continuing from step {self.step:,} of {setup.total_steps:,}.")
            for note in (note for note in notes if note):
                console.log(f"Note: {note}")

    def train(self, interrupt: Interrupt) -> None:
        """Takes all steps; after a signal, the one that is under way, and saves."""
        total = self.setup.total_steps
        if self.step < total or (total and not self.boundary_done):
            self.compile()
        with interrupt.deferred("finishing the step, then saving"):
            self.metric_log.start_clock()
            if total == 0:  # nothing to learn: the weights are saved as they came
                self.save()
            while True:
                if self.at_boundary() and not self.boundary_done:
                    self.end_epoch()
                if (signal := self.signals.any(interrupt.received)) is not None:
                    self.save()
                    self.checkpoints.wait()
                    raise Interrupted(signal)
                if self.step >= total:
                    break
                if self.boundary_done and out_of_patience(self.validations, self.setup.patience):
                    epochs = f"{self.setup.config.train.patience:g} epochs"
                    self.console.log(f"Stopped early: {epochs} without a higher validation accuracy.")
                    break
                self.one_step()
            self.checkpoints.wait()

    def compile(self) -> None:
        """Compiles the step and the evaluation on validation."""
        began = time.perf_counter()
        setup = on_features(self.setup, self.state.variables)
        pipeline = setup.train_pipeline()
        self.items = setup.train_items(pipeline, self.step)
        self.train_step = compile_train_step(setup, self.state, pipeline)
        if len(setup.dataset.validation):
            self.validate = compile_evaluation(setup, self.state.variables, setup.dataset.validation)
        self.console.log(f"Compiled in {time.perf_counter() - began:.1f} s.")

    def one_step(self) -> None:
        """Takes one step; its numbers are fetched when the next one is already on its way."""
        setup, config = self.setup, self.setup.config.train
        streamed = setup.dataset.pipeline == "stream"
        item = self.metric_log.next_item(self.items, self.state) if streamed else next(self.items)
        self.state, report = self.train_step(self.state, item)
        if self.step % config.log_steps == 0:
            self._log_steps(self.step)
        self.step += 1
        self.boundary_done = False
        self.metric_log.add(self.step, report)
        self.console.step(
            self.step, (self.step - 1) // setup.steps_per_epoch, setup.total_steps / setup.steps_per_epoch
        )
        if self._checkpoint_due() and not self.at_boundary():
            self.save()

    def _epoch_ends(self) -> bool:
        return self.step > 0 and (self.step % self.setup.steps_per_epoch == 0 or self.step == self.setup.total_steps)

    def _evaluation_due(self) -> bool:
        if self.step == 0:
            return self.setup.compares_start and self.validate is not None
        return self.step % self.setup.eval_every == 0 or self.step == self.setup.total_steps

    def _checkpoint_due(self) -> bool:
        every = self.setup.config.train.checkpoint_steps
        return every is not None and self.step > 0 and self.step % every == 0

    def at_boundary(self) -> bool:
        """Whether an epoch ends or an evaluation is due at this step."""
        return self._epoch_ends() or self._evaluation_due()

    def end_epoch(self) -> None:
        """Writes the epoch's record, evaluates, saves: what is due at this step."""
        self._log_steps(self.step)
        waiting = self.metric_log.waiting_share()
        records = [self.metric_log.end_epoch(self.step)] if self._epoch_ends() else []
        evaluations = self.evaluate() if self._evaluation_due() else []
        for record in records + evaluations:
            self.records.write(record)
        self.boundary_done = True
        if self._evaluation_due() or self._checkpoint_due():
            self.save(evaluations)
        self.console.epoch(records + evaluations)  # once it is saved: the reader may be gone by now
        decay = self.setup.config.train.ema_decay
        if decay is not None and self.step == self.setup.total_steps and (note := lag(evaluations, decay)):
            self.console.log(f"Note: {note}")
        if waiting > INPUT_BOUND:
            self.console.log(f"Input-bound: {waiting:.0%} of the time is spent waiting for images.")
        self._call_back(records + evaluations)
        self.metric_log.start_clock()

    def evaluate(self) -> list[Record]:
        """Evaluates the raw and the averaged weights on validation; [] without a validation split."""
        if self.validate is None:
            return []
        weights = {"raw": self.state.variables} | ({"ema": self.state.ema} if self.state.ema else {})
        common = {"kind": "epoch", "split": "validation", "step": self.step}
        common["epoch"] = self.step / self.setup.steps_per_epoch
        records = [common | {"weights": name} | self.validate(variables) for name, variables in weights.items()]
        self.validations.append(better(records))
        return records

    def save(self, evaluations: Sequence[Record] = ()) -> None:
        """Starts a checkpoint of this step, ranked by the better of `evaluations`.

        Raises:
          NonFinite: the state is not finite; nothing is saved.
        """
        self._log_steps(self.step)
        if not sharding.all_finite(self.state):
            raise NonFinite(f"the state is not finite after step {self.step}; try a lower --optim.learning-rate")
        metrics: dict[str, Any] | None = None
        if evaluations:
            each = {record["weights"]: {name: record[name] for name in ("top1", "loss")} for record in evaluations}
            name = better(evaluations)["weights"]
            metrics = each[name] | {"weights": name} | each
        meta = {"metric_log": self.metric_log.state(), "boundary_done": self.boundary_done}
        self.records.sync()  # a run that resumes from here needs those before it
        self.checkpoints.save(self.state, meta, metrics)

    def finish(self, *, test: bool) -> Record:
        """Evaluates on the test split, once in a run's life, then draws the curves and writes the report; without
        `test`, the curves alone. A run that is stopped here finishes by the same command again."""
        best_step = self.checkpoints.best_step()
        if not test:
            write_curves(self.setup, self.workdir, self.console, best_step)
            return best_of(read_records(self.workdir))
        best = best_weights(self.checkpoints, self.setup)
        record = test_record(self.workdir, self.step)
        if record is None:
            metrics = evaluate_best(self.setup, best, "test")
            record = metrics | {"kind": "test", "step": self.step, "checkpoint": metrics["step"]}
            record["convolutions"] = sharding.convolutions(self.setup.mesh, self.setup.config.parallel)
            record["skipped"] = len(self.setup.dataset.skipped)
            if processes.is_first():
                (self.workdir / PAGE).unlink(missing_ok=True)  # of the shorter run that this one was
            self.records.write(record)
            self.records.sync()
            self._call_back([record])
        write_curves(self.setup, self.workdir, self.console, best_step)
        write_report(self.setup, self.workdir, self.console, best, best_step)
        return record

    def _log_steps(self, upto: int) -> None:
        records = self.metric_log.drain(upto)
        for record in records:
            self.records.write(record)
            self.console.interval(record, self.metric_log.images_per_second())
        self._call_back(records)

    def _call_back(self, records: Sequence[Record]) -> None:
        for record in records:
            for callback in self.callbacks:
                callback(record)
