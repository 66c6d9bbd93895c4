"""The study: its trials, in a database that several processes and machines may share.

Pruning: the median rule of Golovin et al. 2017, "Google Vizier", section 3.2.2. Random search: Bergstra & Bengio 2012.
TPE: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", section 4.
"""

import contextlib
import dataclasses
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from fcnn.config import Config
from fcnn.config.serialize import flatten, from_json, to_json
from fcnn.search.space import Dimension
from fcnn.training.workdir import resolved
from fcnn.utils.errors import UserError

HEARTBEAT, GRACE, RETRIES = 10, 90, 5
"""Seconds between heartbeats of a worker, seconds without one after which its trial is queued again, and how often a
trial is resumed."""
STARTUP, WARMUP = 4, 1
"""Trials, and evaluations of a trial, before anything is pruned."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclasses.dataclass(frozen=True)
class Job:
    """A search."""

    config: Config
    """What isn't searched."""
    space: tuple[Dimension, ...]
    sampler: str
    """random, grid or tpe."""
    trials: int
    """In the whole study."""
    folder: Path
    """For the trials' folders; its name is the study's."""
    storage: str
    """A database's URL."""


def sqlite_url(path: Path) -> str:
    """Returns the URL of a SQLite file; Optuna formats it as a template, in which braces are doubled."""
    url = URL.create("sqlite", database=str(path)).render_as_string()
    return url.replace("{", "{{").replace("}", "}}")


def _without_password(storage: str) -> str:
    try:
        url = make_url(storage)
    except SQLAlchemyError:  # no URL
        return storage
    return url.render_as_string(hide_password=True) if url.password else storage


@contextlib.contextmanager
def database(storage: str) -> Iterator[None]:
    """Gives UserError, naming the database, where it can't be read or written any more."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(f"--storage {_without_password(storage)}: {str(error).splitlines()[0]}") from None


def open_study(job: Job) -> optuna.Study:
    """Returns the study of a job, and creates it if need be.

    Raises:
      UserError: the database can't be opened, or holds a study of that name with another config or space.
    """
    # SQLite: a connection is closed as soon as it isn't used, as Python 3.13 warns of one that is only forgotten.
    options = {"connect_args": {"timeout": 60}, "poolclass": NullPool} if job.storage.startswith("sqlite") else {}
    try:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            storage = RDBStorage(
                job.storage,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=_retry(),
            )
            study = optuna.create_study(
                study_name=job.folder.name,
                storage=storage,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP + 1),
            )
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise UserError(f"--storage {_without_password(job.storage)}: {str(error).splitlines()[0]}") from None
    _check_same(study, job)
    if job.sampler == "grid":
        for values in itertools.product(*(d.grid() for d in job.space)):
            point = dict(zip((d.field for d in job.space), values, strict=True))
            study.enqueue_trial(point, skip_if_exists=True)
    return study


def _retry() -> Any:
    return RetryHeartbeatStaleTrialCallback(max_retry=RETRIES, inherit_intermediate_values=True)


def resume_later(study: optuna.Study, number: int) -> None:
    """Queues a trial that was interrupted again: the worker that draws it resumes from its checkpoint."""
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        _retry()(study, study.get_trials(deepcopy=False)[number])


def retry_stale(study: optuna.Study) -> None:
    """Queues the trials of workers without a heartbeat again; drawing a trial does so as well."""
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        optuna.storages.fail_stale_trials(study)


def original(trial: FrozenTrial) -> int:
    """Returns the number of the trial that this one resumes; its own if it is the first."""
    return trial.system_attrs.get("failed_trial", trial.number)


def fresh(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that don't resume another one."""
    return [t for t in study.get_trials(deepcopy=False) if original(t) == t.number]


def results(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that have ended: done, pruned or failed; of one that was resumed, the last attempt."""
    last = {original(t): t for t in study.get_trials(deepcopy=False)}
    surplus = {t.number for t in last.values() if t.user_attrs.get("surplus")}
    return [t for t in last.values() if t.state.is_finished() and t.number not in surplus]


def is_wanted(study: optuna.Study, job: Job) -> bool:
    """Returns whether a trial is queued, or has yet to be created."""
    waits = any(t.state == TrialState.WAITING for t in study.get_trials(deepcopy=False))
    return waits or sum(not t.user_attrs.get("surplus") for t in fresh(study)) < job.trials


def random_index(study: optuna.Study, number: int) -> int:
    """Returns the number of a trial's folder: of trials created before it, or before the first that it resumes.

    It can exceed the trials of the study, as workers may draw at the same moment: the last ones yield.
    """
    first = original(study.get_trials(deepcopy=False)[number])
    return sum(t.number < first and not t.user_attrs.get("surplus") for t in fresh(study))


def sampler(job: Job, random_index: int) -> optuna.samplers.BaseSampler:
    """Returns what draws a trial's values. Its seed is of the run's and the trial's number: random search gives trial 7
    the same values in every process."""
    seed = int(np.random.SeedSequence([job.config.seed, random_index]).generate_state(1)[0])
    kind = optuna.samplers.TPESampler if job.sampler == "tpe" else optuna.samplers.RandomSampler
    return kind(seed=seed)


def _check_same(study: optuna.Study, job: Job) -> None:
    """Stores the config, space and sampler of a study, or compares them; UserError if they differ."""
    config = resolved(job.config)
    current = {"space": {d.option: d.text for d in job.space}, "sampler": job.sampler, "config": to_json(config)}
    if "config" not in study.user_attrs:
        for name, value in current.items():
            study.set_user_attr(name, value)
        return
    known = study.user_attrs
    old, new = flatten(from_json(known["config"], "the study")), flatten(config)
    changed = [
        f"{n.replace('_', '-')}: {old[n]} -> {new[n]}" for n in old if old[n] != new[n] and n != "data.manual_dir"
    ]
    changed += [f"{n}: {known[n]} -> {current[n]}" for n in ("space", "sampler") if known[n] != current[n]]
    if changed:
        raise UserError(f"{job.folder} holds another study ({'; '.join(changed)}); take another --workdir")
