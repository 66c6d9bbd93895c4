"""What the user got wrong, told apart from what fcnn got wrong: the command line prints the first in a line or two."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: the message says what, where and what would be right. Exit code 2."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A one-line message for a name that doesn't exist: the nearest ones that do, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {name!r}; {hint}"
