"""JSON that anybody may have written: bounded before it is read, and what is wrong with it is said in a line."""

import json
from pathlib import Path
from typing import Any

from fcnn.utils.errors import UserError

MAX_BYTES = 256 << 20
MAX_DIGITS = 300
"""Of a whole number: one with more is beyond the range of a float, which raises OverflowError wherever it is used."""


def read_json(path: Path) -> Any:
    """Returns what a file of JSON holds.

    Raises:
      UserError: it can't be read, isn't JSON, or holds numbers or nesting that no such file has.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES >> 20} MB of JSON")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    return parse_json(data, str(path))


def parse_json(text: str | bytes, source: str) -> Any:
    """Returns what JSON says; `source` is what the UserError, as for `read_json`, calls it."""
    try:
        return loads(text)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None


def loads(text: str | bytes) -> Any:
    """Returns what JSON says; ValueError if it is none, or holds numbers or nesting that no such file has."""
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)
