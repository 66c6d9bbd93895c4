"""The study: which trials there are, kept in a database that several processes and machines may share.

Pruning: the median rule of Golovin et al. 2017, "Google Vizier", section 3.2.2. Random search: Bergstra & Bengio 2012.
TPE: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", section 4.
"""

import dataclasses
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from fcnn.config import Config
from fcnn.config.serialize import flatten, from_json, to_json
from fcnn.search.space import Dimension
from fcnn.training.workdir import resolved
from fcnn.utils.errors import UserError

HEARTBEAT, GRACE, RETRIES = 10, 90, 5
"""Seconds between a worker's signs of life, seconds without one after which its trial is another's, and how often a
trial is taken up again."""
STARTUP, WARMUP = 4, 1
"""Trials, and evaluations of a trial, before anything is pruned."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclasses.dataclass(frozen=True)
class Job:
    """A search as it was asked for."""

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
    """The URL of a SQLite file; Optuna formats it as a template, in which braces are doubled."""
    url = URL.create("sqlite", database=str(path)).render_as_string()
    return url.replace("{", "{{").replace("}", "}}")


def open_study(job: Job) -> optuna.Study:
    """The study of a job, made if it isn't there.

    Raises:
      UserError: the database can't be opened, or holds a study of that name with another config or space.
    """
    # SQLite: a connection is closed as soon as it isn't used, as Python 3.13 warns of one that is only forgotten.
    options = {"connect_args": {"timeout": 60}, "poolclass": NullPool} if job.storage.startswith("sqlite") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
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
        raise UserError(f"--storage {job.storage}: {str(error).splitlines()[0]}") from None
    _check_same(study, job)
    if job.sampler == "grid":
        for values in itertools.product(*(d.grid() for d in job.space)):
            point = dict(zip((d.field for d in job.space), values, strict=True))
            study.enqueue_trial(point, skip_if_exists=True)
    return study


def _retry() -> Any:
    return RetryHeartbeatStaleTrialCallback(max_retry=RETRIES, inherit_intermediate_values=True)


def take_up_again(study: optuna.Study, number: int) -> None:
    """Puts a trial that was interrupted back in the queue: whoever draws it goes on from its checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        _retry()(study, study.get_trials(deepcopy=False)[number])


def fail_the_silent(study: optuna.Study) -> None:
    """Puts the trials of workers that give no sign of life any more back in the queue; drawing a trial does so too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def original(trial: FrozenTrial) -> int:
    """The number of the trial that this one takes up again; its own if it is the first."""
    return trial.system_attrs.get("failed_trial", trial.number)


def fresh(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that take up no other one."""
    return [t for t in study.get_trials(deepcopy=False) if original(t) == t.number]


def results(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have come to an end: done, pruned or failed; of one that was taken up again the last attempt."""
    last = {original(t): t for t in study.get_trials(deepcopy=False)}
    surplus = {t.number for t in last.values() if t.user_attrs.get("surplus")}
    return [t for t in last.values() if t.state.is_finished() and t.number not in surplus]


def is_wanted(study: optuna.Study, job: Job) -> bool:
    """Whether a trial waits to be drawn or taken up, or is still to be made."""
    waits = any(t.state == TrialState.WAITING for t in study.get_trials(deepcopy=False))
    return waits or sum(not t.user_attrs.get("surplus") for t in fresh(study)) < job.trials


def place(study: optuna.Study, number: int) -> int:
    """How many trials were made before this one, or before the first that it takes up: what its folder is called by.

    It can be one more than was asked for: workers may draw at the same moment, and the last ones yield.
    """
    first = original(study.get_trials(deepcopy=False)[number])
    return sum(t.number < first and not t.user_attrs.get("surplus") for t in fresh(study))


def sampler(job: Job, place: int) -> optuna.samplers.BaseSampler:
    """What draws a trial's values. Its seed is the run's and the trial's place: whoever draws, whenever, random search
    gives trial 7 the same values."""
    seed = int(np.random.SeedSequence([job.config.seed, place]).generate_state(1)[0])
    kind = optuna.samplers.TPESampler if job.sampler == "tpe" else optuna.samplers.RandomSampler
    return kind(seed=seed)


def _check_same(study: optuna.Study, job: Job) -> None:
    """Keeps what the study is about, or compares."""
    config = resolved(job.config)
    about = {"space": {d.option: d.text for d in job.space}, "sampler": job.sampler, "config": to_json(config)}
    if "config" not in study.user_attrs:
        for name, value in about.items():
            study.set_user_attr(name, value)
        return
    known = study.user_attrs
    old, new = flatten(from_json(known["config"], "the study")), flatten(config)
    changed = [
        f"{n.replace('_', '-')}: {old[n]} -> {new[n]}" for n in old if old[n] != new[n] and n != "data.manual_dir"
    ]
    changed += [f"{n}: {known[n]} -> {about[n]}" for n in ("space", "sampler") if known[n] != about[n]]
    if changed:
        raise UserError(f"{job.folder} holds another study ({'; '.join(changed)}); take another --workdir")
