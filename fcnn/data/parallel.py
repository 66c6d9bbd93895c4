"""Work on many files at once, with progress. Pillow releases Python's lock while it decodes: threads are enough."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from fcnn.utils.cores import cores


class Progress(Protocol):
    """Yields the items and shows how many of `total` are done."""

    def __call__(self, items: Iterable[Any], text: str, total: int) -> Iterable[Any]: ...


def no_progress(items: Iterable[Any], text: str, total: int) -> Iterable[Any]:
    """Shows nothing."""
    return items


_large = threading.Lock()
_this_thread = threading.local()


@contextlib.contextmanager
def one_item() -> Iterator[None]:
    """Encloses a thread's work on one item: the turn that it took, if any, ends with it."""
    outer, _this_thread.has_large = getattr(_this_thread, "has_large", None), False
    try:
        yield
    finally:
        if _this_thread.has_large:
            _large.release()
        _this_thread.has_large = outer


def take_turn() -> None:
    """Waits until no other thread works on a large image, which takes most of a gigabyte: one at a time until the end
    of `one_item`, without which nothing happens."""
    if getattr(_this_thread, "has_large", None) is False:
        _large.acquire()
        _this_thread.has_large = True


def each(work: Callable[[Any], Any], items: Sequence[Any], text: str, progress: Progress) -> list[Any]:
    """Returns `[work(item) for item in items]`, on as many threads as there are cores; the first error ends it."""

    def one(item: Any) -> Any:
        with one_item():
            return work(item)

    pool = ThreadPoolExecutor(cores(), thread_name_prefix="fcnn-data")
    try:
        return list(progress(pool.map(one, items), text, len(items)))
    finally:
        pool.shutdown(cancel_futures=True)
