"""Several processes that train as one, on one machine or many: how they meet, agree, stop, and what a lost one means.

Each runs the same program on the same data and decides the same; the first one alone writes reports. What only one of
them can know, a mistake or a signal, it tells the others, so that none waits for it. Alone, a process skips all this.
"""

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from fcnn.distributed import sharding
from fcnn.runtime.signals import Stopped
from fcnn.utils.errors import UserError

WAIT = 300
"""Seconds to wait for the others at the start."""
SILENCE = 60
"""Seconds without a sign of life after which a process counts as lost."""

LOSS = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED")
"""What JAX's errors say, of whatever type they are, when another process doesn't answer."""


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Meets the other processes, before anything else is asked of JAX.

    Args:
      coordinator: HOST:PORT, where process 0 is to listen; None to take all three from Slurm, Open MPI or a TPU pod.
      count: how many processes there are.
      index: which one this is, from 0.

    Raises:
      UserError: there is nothing to take them from, or the others don't come.
    """
    _keep_standard_output()
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            cluster_detection_method="deactivate" if coordinator else None,
            initialization_timeout=WAIT,
            heartbeat_timeout_seconds=SILENCE,
        )
    except ValueError:
        raise UserError(
            "--distributed finds neither Slurm nor Open MPI nor a TPU pod; give --coordinator HOST:PORT, "
            "--num-processes and --process-id"
        ) from None
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"the {count or 'other'} processes did not meet at {coordinator}: {_first_line(error)}"
        ) from None


def _keep_standard_output() -> None:
    """Leaves standard output to Python: Gloo, which connects CPUs, prints its peers there."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = open(own, "w", buffering=1, encoding=sys.stdout.encoding, errors=sys.stdout.errors)  # noqa: SIM115  # for as long as the process lives


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What each process does by itself: all go on behind it, or, if it was a UserError for one, none does.

    Raises:
      UserError: this process's own, or one that says which process had it.
    """
    error = None
    try:
        yield
    except UserError as caught:
        error = caught
    if jax.process_count() > 1:
        failed = np.flatnonzero(multihost_utils.process_allgather(np.asarray(error is not None)))
        if len(failed) and error is None:
            raise UserError(f"process {failed[0]} stopped; it says why")
    if error is not None:
        raise error


def in_turn(work: Callable[[], Any]) -> Any:
    """What `work` gives, of which the first process may leave something on a disk that the others find."""
    results = []
    for first in (True, False):
        with together():
            if is_first() == first:
                results.append(work())
    return results[0]


def of_first(number: int) -> int:
    """The first process's number of those that all of them hand in."""
    return int(multihost_utils.broadcast_one_to_all(np.asarray(number))) if jax.process_count() > 1 else number


class Signals:
    """Whether any process was asked to stop, known to all of them before the same step.

    What the processes hand in before a step is added up on the devices behind it and read before the next: nobody
    waits for it, and a signal takes effect one step later than alone.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._largest = sharding.largest(mesh) if jax.process_count() > 1 else None
        self._latest = 0

    def any(self, received: int | None) -> int | None:
        """The signal that a process received, given this one's own, or None."""
        if self._largest is None:
            return received
        before, self._latest = int(self._latest), self._largest(received or 0)
        return before or None


@contextlib.contextmanager
def bound(*expected: type[BaseException]) -> Iterator[None]:
    """Ends this process at once if another one is lost, or to be lost to the others if it fails itself.

    Whatever would be tidied up behind this context, a checkpoint that is being written first of all, needs all
    processes and would wait for them. The last whole checkpoint stays.

    Args:
      expected: errors that all processes have alike; they pass.
    """
    try:
        yield
    except (*expected, UserError):
        raise
    except Stopped as stop:  # this process alone
        if jax.process_count() == 1:
            raise
        os._exit(stop.exit_code)
    except Exception as error:
        if jax.process_count() == 1:
            raise
        if any(sign in str(error) for sign in LOSS):
            message = f"process {jax.process_index()} lost the others ({_first_line(error)})"
            sys.stderr.write(
                f"fcnn: {message}.\nThe last whole checkpoint stays; start all processes again to continue.\n"
            )
        else:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error).strip().partition("\n")[0])[:200]
