"""The worker processes of a search, each with its own share of the cores."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from fcnn.runtime.signals import Interrupt, Interrupted, Stopped
from fcnn.search.study import Job, results
from fcnn.utils.errors import UserError

PAUSE = 0.5
"""Seconds between looks at the study."""


def shares(count: int) -> list[list[int]]:
    """The cores of each worker; one core serves several where there are too few."""
    if not hasattr(os, "sched_getaffinity"):
        return [[]] * count
    here = sorted(os.sched_getaffinity(0))
    size = max(len(here) // count, 1)
    return [[here[(i * size + k) % len(here)] for k in range(size)] for i in range(count)]


class Workers:
    """Processes that run `target(job)`, from `follow` on.

    Args:
      target: what a process does; a function of a module, as every process imports it anew.
    """

    def __init__(self, job: Job, count: int, target: Callable[[Job], None]) -> None:
        self._job, self._errors = job, multiprocessing.get_context("spawn").SimpleQueue()
        start = multiprocessing.get_context("spawn").Process
        self._processes = [start(target=_start, args=(target, job, share, self._errors)) for share in shares(count)]

    def follow(self, study: optuna.Study) -> Iterator[FrozenTrial]:
        """Yields every trial that ends, also on other machines, until the workers have finished.

        Raises:
          UserError: a worker raised it.
          Interrupted: a signal came; the workers have saved and are gone.
        """
        reported = {trial.number for trial in results(study)}
        with Interrupt() as interrupt, interrupt.deferred("each worker finishing its step, then saving"):
            self._begin(interrupt)
            terminated = False
            while True:
                alive = any(process.is_alive() for process in self._processes)
                if interrupt.received and not terminated:
                    terminated = True
                    for process in self._processes:
                        process.terminate()
                for trial in results(study):
                    if trial.number not in reported and not interrupt.received:
                        reported.add(trial.number)
                        yield trial
                if not alive:
                    break
                time.sleep(PAUSE)
            if interrupt.received:
                raise Interrupted(interrupt.received)
        if not self._errors.empty():
            raise UserError(self._errors.get())

    def _begin(self, interrupt: Interrupt) -> None:
        """Starts the first worker, which prepares the data, then the others."""
        for process in self._processes:
            process.start()
            while len(self._processes) > 1 and process is self._processes[0] and not interrupt.received:
                if not process.is_alive() or list(self._job.folder.glob("trial-*/data.json")):
                    break
                time.sleep(PAUSE)

    @property
    def failed(self) -> bool:
        """Whether a worker failed."""
        return any(process.exitcode not in (0, None) for process in self._processes)


def _start(target: Callable[[Job], None], job: Job, share: list[int], errors: Any) -> None:
    """Runs `target` in the new process, out of reach of the terminal's Ctrl-C, with its output in a log."""
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()
    if share:
        os.sched_setaffinity(0, share)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several share a GPU's memory
    log = os.open(job.folder / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        target(job)
    except UserError as error:
        errors.put(str(error))
        sys.exit(2)
    except Stopped:
        sys.exit(128 + signal.SIGTERM)
