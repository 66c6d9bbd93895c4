"""A worker: one of the processes that draw trials from a study and train them."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna

from fcnn.report import Console, curves, read_records
from fcnn.report.fit import curve
from fcnn.report.records import Record
from fcnn.runtime.signals import Interrupt, Interrupted, Stopped
from fcnn.search.space import replaced
from fcnn.search.study import Job, is_wanted, open_study, random_index, resume_later, retry_stale, sampler
from fcnn.training import trainer
from fcnn.training.metric_log import NonFinite
from fcnn.training.results import best_of
from fcnn.utils.errors import UserError

PAUSE = 2.0
"""Seconds between looks at trials that others are running: one may be left behind."""


def work(job: Job) -> None:
    """Trains trials until the study has all of them and none is running any more.

    Raises:
      UserError: the very first trial can't be trained.
      Interrupted: a signal came, or the parent process is gone; the trial is saved and queued.
    """
    study, parent = open_study(job), os.getppid()
    # Within a run, `trainer.train` handles signals; a write to the database is finished first.
    with Interrupt() as interrupt, interrupt.deferred("writing in the study"):

        def must_stop() -> int | None:
            return interrupt.received or (None if os.getppid() == parent else 15)

        while must_stop() is None:
            if is_wanted(study, job):
                _one_trial(study, job, must_stop)
            elif any(t.state == optuna.trial.TrialState.RUNNING for t in study.get_trials(deepcopy=False)):
                time.sleep(PAUSE)
                retry_stale(study)
            else:
                return
        raise Interrupted(must_stop() or 15)


def _one_trial(study: optuna.Study, job: Job, must_stop: Any) -> None:
    """Draws a trial and trains it; an error is recorded in the trial."""
    drawn: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        drawn.append(trial.number)
        number = random_index(study, trial.number)
        if number >= job.trials:
            trial.set_user_attr("surplus", True)
            raise _Surplus
        study.sampler = sampler(job, number)
        return _train(trial, job, job.folder / f"trial-{number:03d}", must_stop)

    try:
        study.optimize(objective, n_trials=1, catch=(_Surplus,))
    except Stopped:
        resume_later(study, drawn[0])
        raise
    except UserError:
        if not any(t.user_attrs.get("best") for t in study.get_trials(deepcopy=False)):
            raise  # none has ever worked: it isn't this trial's values that are wrong


class _Surplus(Exception):
    """A trial beyond the number of the study."""


@dataclasses.dataclass(kw_only=True)
class Pruner:
    """A callback that ends a run that Optuna prunes, or that has to stop, at the first record after an evaluation."""

    trial: optuna.Trial
    must_stop: Callable[[], int | None]
    evaluations: Callable[[], Sequence[Record]]
    reported: int = 0

    def __call__(self, record: Record) -> None:
        if record["kind"] == "test" or record["split"] != "train":
            return
        # By the number of the evaluation: steps differ with the batch size.
        evaluations = [row for row in self.evaluations() if row["step"] < record["step"]]
        if len(evaluations) > self.reported:
            self.reported = len(evaluations)
            self.trial.report(evaluations[-1]["top1"], self.reported)
            if self.trial.should_prune():
                raise optuna.TrialPruned
        if (received := self.must_stop()) is not None:
            raise Interrupted(received)


def _train(trial: optuna.Trial, job: Job, folder: Path, must_stop: Any) -> float:
    """The best validation accuracy of a trial's run."""
    config = replaced(job.config, values := {d.field: d.suggest(trial) for d in job.space})
    trial.set_user_attr("folder", folder.name)
    trial.set_user_attr("values", values)

    def evaluations() -> list[Record]:
        return list(curve(read_records(folder), "validation"))

    pruner = Pruner(trial=trial, must_stop=must_stop, evaluations=evaluations)
    try:
        return trainer.train(config, folder, Console(quiet=True), test=False, callbacks=[pruner])["top1"]
    except NonFinite:
        trial.set_user_attr("note", "diverged")
        raise optuna.TrialPruned from None
    except UserError as error:
        trial.set_user_attr("note", str(error).splitlines()[0])
        raise
    finally:
        if rows := evaluations():
            if not (folder / curves.FILE).exists():  # of a run that didn't come to its end
                curves.draw_curves(folder, f"{folder.name}, {config.model.name}", None)
            best = best_of(rows)
            metrics = {name: best[name] for name in ("top1", "loss", "step", "epoch")}
            trial.set_user_attr("best", metrics | {"epochs": rows[-1]["epoch"]})
