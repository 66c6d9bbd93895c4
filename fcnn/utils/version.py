"""The version of fcnn, which stands in every file that it writes and reads again."""

from collections.abc import Mapping
from typing import Any

VERSION = "0.1.0"
KEY = "fcnn_version"


def with_version(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is written to a file: the values, and this version."""
    return {KEY: VERSION, **values}


def without_version(values: Any) -> Any:
    """Returns what was read from a file without the version; what is no dict as it is."""
    return {name: value for name, value in values.items() if name != KEY} if isinstance(values, dict) else values


def newer(values: Any) -> str:
    """Says what to do about a file that can't be read because a later version wrote it; else empty."""
    written = str(values.get(KEY, "")) if isinstance(values, dict) else ""
    if _numbers(written) <= _numbers(VERSION):
        return ""
    return f"; fcnn {ascii(written)[1:-1][:20]} wrote it and this is {VERSION}: upgrade fcnn"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal() and part.isascii() and len(part) < 9]
