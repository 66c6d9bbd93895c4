"""Names of files and classes as a line can hold them."""

import os
from collections.abc import Iterable


def printable(path: str) -> str:
    """Returns a path as it can be printed on a line: no control character, no byte that isn't text."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def join(names: Iterable[str], most: int = 5) -> str:
    """Returns the first few names, and how many more there are: "a, b, c, d, e and 7 more"."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
