"""How a config refuses a value: one line that says the field, its value and what would be right."""

import math
import os
from collections.abc import Collection
from typing import Any

from fcnn.utils.errors import unknown

INF = math.inf
TINY = 1e-30  # a closed range's way to say "positive"
MOST = 2**31 - 1  # of whole numbers, which become int32


def check(ok: bool, message: str) -> None:
    """Raises ValueError unless `ok`."""
    if not ok:
        raise ValueError(message)


def check_known(field: str, value: Any, known: Collection[str]) -> None:
    """Raises ValueError, with the nearest names, unless `value` is among the known ones."""
    if value not in known:  # the search for the nearest takes milliseconds
        raise ValueError(unknown(field, str(value), known))


def check_paths(config: Any, prefix: str, *names: str) -> None:
    """Raises ValueError unless each named text of `config` is None or could be the path of a file."""
    for name in names:
        value = getattr(config, name)
        field = f"{prefix}{name.replace('_', '-')}"
        check(value is None or isinstance(value, str), f"{field} must be a text, got {value!r}")
        try:
            possible = value is None or b"\0" not in os.fsencode(value)
        except UnicodeEncodeError:
            possible = False
        check(possible, f"{field} is no path of a file: {str(value)[:100]!r}")


def check_numbers(config: Any, prefix: str, **ranges: tuple[float, float]) -> None:
    """Raises ValueError unless each named number of `config` is None or finite and in its closed range."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if value is None:
            continue
        check(isinstance(value, int | float), f"{prefix}{name.replace('_', '-')} must be a number, got {value!r}")
        high = MOST if high == INF and isinstance(value, int) and value > MOST else high
        if abs(value) < 10**300 and low <= value <= high:
            continue
        least = "above 0" if low == TINY else f"at least {low:g}"
        want = least if high == INF else f"{least} and at most {high:.10g}"
        raise ValueError(f"{prefix}{name.replace('_', '-')} must be {want}, got {str(value)[:40]}")
