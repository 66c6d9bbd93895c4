"""A thread of its own for oneDNN: each thread that calls oneDNN has a team of OpenMP threads, and where there are more
of them than cores, libgomp lets all sleep between calls. To wake them takes some 40 us a primitive: of MobileNet v2's
4.2 ms for an image, 2.1."""

import contextlib
import functools
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

_starting = threading.Lock()


def in_one_thread(function: Callable[..., None], *arguments: Any) -> None:
    """Calls the function in the one thread, and waits; raises what it raises. An interrupt of this thread waits, too:
    the function may write to memory that is freed when this returns."""
    future: Future[None] = Future()
    try:
        with _starting:  # else two threads at once would begin one each
            jobs = _jobs()
        jobs.put((future, function, arguments))
        future.result()
    except KeyboardInterrupt:
        while not (future.cancel() or future.done()):
            with contextlib.suppress(KeyboardInterrupt):
                future.exception()
        raise


@functools.cache
def _jobs() -> queue.SimpleQueue:
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_work, args=(jobs,), name="fcnn-onednn", daemon=True).start()
    return jobs


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_jobs.cache_clear)  # a fork has no threads


def _work(jobs: queue.SimpleQueue) -> None:
    while True:
        _do(*jobs.get())


def _do(future: Future[None], function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Does a job, and keeps nothing of it: a network's weights hang on it."""
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # whatever it is, the thread that waits raises it
            future.set_exception(error)
