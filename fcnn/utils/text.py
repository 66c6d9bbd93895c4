"""Names of files and classes as a line can hold them, and tables of text."""

from collections.abc import Iterable, Sequence

_HARMLESS = "\u00a0\u202f\u200c\u200d"
"""Spaces of French numbers, joiners of Persian, Hindi and emoji."""


def printable(path: str) -> str:
    """Returns a path as it can be printed on a line: no control character, no byte that isn't text."""
    return "".join(c if c.isprintable() or c in _HARMLESS else _escaped(c) for c in path)


def printable_lines(text: str) -> str:
    """Returns lines as a terminal may get them: names in them come from files, and could move its cursor."""
    return "\n".join(map(printable, text.split("\n")))


MAX_LINE = 1000
"""Letters of a line of a message: a value of a file that it repeats may have any length."""


def shortened(text: str) -> str:
    """Returns lines, the middle left out of those that are longer than MAX_LINE."""
    lines = text.split("\n")
    return "\n".join(x if len(x) <= MAX_LINE else f"{x[: MAX_LINE - 300]} ... {x[-300:]}" for x in lines)


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte of a name that isn't UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def join(names: Iterable[str], max_names: int = 5) -> str:
    """Returns the first few names, and how many more there are: "a, b, c, d, e and 7 more"."""
    names = list(names)
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Returns rows as aligned columns: the first `left` to the left, the others to the right, two spaces between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<" if i < left else ">" for i in range(len(widths))]
    lines = [zip(row, sides, widths, strict=True) for row in rows]
    return "\n".join("  ".join(f"{cell:{side}{width}}" for cell, side, width in line).rstrip() for line in lines)


def short(number: float) -> str:
    """Returns a number with at most two decimals: 5.09524 -> "5.1"."""
    return f"{round(number, 2):g}"
