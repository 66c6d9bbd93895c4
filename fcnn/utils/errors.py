"""Errors of the user, which the command line prints in a line or two, and hints at what to write or install."""

import difflib
import re
from collections.abc import Iterable

from fcnn.utils.text import join


class UserError(Exception):
    """Something the user can put right: the message says what, where and what would be right. Exit code 2."""


MAX_NAME = 100
"""Letters of an unknown name that a message repeats."""
MAX_KNOWN = 60
"""Names that it lists, where none is near."""
SHORT = {"lr": "learning_rate", "wd": "weight_decay"}
"""Names that others use, too short to be recognized by their letters."""


def install(extra: str) -> str:
    """Returns the command that installs an extra, in a checkout of the repository."""
    return f"pip install -e '.[{extra}]'"


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Returns a one-line message for a name that doesn't exist: the nearest ones that do, or all of them."""
    known, name = sorted(known), name[:MAX_NAME]
    meant = re.sub(r"\b(lr|wd)\b", lambda short: SHORT[short[0]], name)
    near = difflib.get_close_matches(meant, known, n=3 if meant == name else 1, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {join(known, MAX_KNOWN)}"
    return f"unknown {what} {name!r}; {hint}"
