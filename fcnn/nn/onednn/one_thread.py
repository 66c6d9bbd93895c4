"""A thread of its own for oneDNN: each thread that calls oneDNN has a team of OpenMP threads, and where there are more
of them than cores, libgomp lets all sleep between calls. To wake them takes some 40 us a primitive: of MobileNet v2's
4.2 ms for an image, 2.1."""

import functools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def in_one_thread(function: Callable[..., None], *arguments: Any) -> None:
    """Calls the function in the one thread, and waits; raises what it raises."""
    future: Future[None] = Future()
    _jobs().put((future, function, arguments))
    future.result()


@functools.cache
def _jobs() -> queue.SimpleQueue:
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_work, args=(jobs,), name="fcnn-onednn", daemon=True).start()
    return jobs


def _work(jobs: queue.SimpleQueue) -> None:
    while True:
        future, function, arguments = jobs.get()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
