"""What `fcnn doctor` prints: facts by name, then problems with what to do about each."""

import re
import textwrap
from pathlib import Path

from fcnn.utils.text import printable

NAME_WIDTH, WIDTH = 15, 118


class Report:
    """Facts and problems, in the order in which they were found.

    Attributes:
      values: what a check leaves for a later one.
    """

    def __init__(self) -> None:
        self.facts: list[tuple[str, str]] = []
        self.problems: list[tuple[str, str]] = []
        self.values: dict[str, object] = {}

    def fact(self, name: str, text: str) -> None:
        """Add a line; several facts of one name stand below each other."""
        self.facts.append((name, text))

    def problem(self, what: str, fix: str) -> None:
        """Add what is wrong, and what to do about it."""
        self.problems.append((what, fix))

    def text(self) -> str:
        """Return the report as plain text that can be pasted anywhere: the home folder is written as ~."""
        lines, previous = [], ""
        for name, text in self.facts:
            lines.append(_wrapped(f"{'' if name == previous else name:{NAME_WIDTH}}", text))
            previous = name
        count = len(self.problems)
        lines.append("\nNothing wrong was found." if not count else f"\n{count} problem{'s' * (count > 1)}:")
        for number, (what, fix) in enumerate(self.problems, 1):
            lines += [_wrapped(f"{number}. ", what), _wrapped("   Try: ", fix)]
        return "\n".join(lines)


def _wrapped(head: str, text: str) -> str:
    text = printable(without_home(" ".join(text.split())))
    lines = textwrap.TextWrapper(WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    lines.break_long_words = lines.break_on_hyphens = False
    return lines.fill(text or "-")


def without_home(text: str) -> str:
    """Return text with ~ in place of the home folder, whose name is often a person's."""
    try:
        home = str(Path.home())
    except RuntimeError:  # there is none
        return text
    return re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text) if len(home) > 1 else text


def size(count: float) -> str:
    """1234567 -> "1.2 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
