"""JAX's persistent cache of compiled programs: each is there whole or not at all.

JAX writes a program under its name at once. One that a kill has cut short would be read by every later run, with a
warning, and never be replaced.
"""

import contextlib
import functools
from pathlib import Path
from typing import Any

from fcnn.utils.files import new_file


def write_whole_programs() -> None:
    """Has JAX give a compiled program its name once it is whole; where that can't be written, JAX does without."""
    try:
        from jax._src.lru_cache import LRUCache
    except ImportError:  # it is private
        return
    put: Any = LRUCache.put
    if hasattr(put, "__wrapped__"):  # done before
        return

    @functools.wraps(put)
    def put_whole(cache: Any, key: str, value: bytes) -> None:
        folder = str(cache.path)
        if cache.eviction_enabled or "://" in folder:
            put(cache, key, value)
            return
        path = Path(folder, f"{key}-cache")
        with contextlib.suppress(OSError):
            if not path.exists():
                with new_file(path) as temporary:
                    temporary.write_bytes(value)

    setattr(LRUCache, "put", put_whole)  # noqa: B010  # its parameters have other names
