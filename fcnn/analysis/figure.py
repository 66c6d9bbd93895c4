"""Figures: drawn last, so that a result is not lost with its picture."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def drawing(name: str, log: Callable[[str], None]) -> Iterator[None]:
    """Logs in one line why a picture could not be drawn or written."""
    try:
        yield
    except Exception as error:  # Matplotlib's own, a full disk
        log(f"{name} could not be drawn: {error or type(error).__name__}")
