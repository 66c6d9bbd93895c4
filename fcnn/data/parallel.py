"""Work on many files at once, with progress. Pillow releases Python's lock while it decodes: threads are enough."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol


class Progress(Protocol):
    """Yields the items and shows how many of `total` are done."""

    def __call__(self, items: Iterable[Any], text: str, total: int) -> Iterable[Any]: ...


def no_progress(items: Iterable[Any], text: str, total: int) -> Iterable[Any]:
    """Shows nothing."""
    return items


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable[[Any], Any], items: Sequence[Any], text: str, progress: Progress) -> list[Any]:
    """Returns `[work(item) for item in items]`, on as many threads as there are cores; the first error ends it."""
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="fcnn-data")
    try:
        return list(progress(pool.map(work, items), text, len(items)))
    finally:
        pool.shutdown(cancel_futures=True)
