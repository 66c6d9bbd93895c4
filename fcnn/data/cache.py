"""Decoded images on disk, so that a set is decoded once: a memory-mapped file for each split, as long as its source is
what it was."""

import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 3  # raise it when the same source would decode to other pixels
_BLOCK = 1 << 20  # bytes that are written at once


def data_dir() -> Path:
    """Where prepared sets are: TFDS_DATA_DIR, or TFDS's own default."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def cache_dir() -> Path:
    """Where what can be made again is kept; a name that TFDS doesn't take for a set's."""
    return data_dir() / "fcnn-cache"


def digest(identity: Any) -> str:
    """A short name for anything that JSON can write."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def cached(
    name: str, identity: Any, count: int, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]
) -> np.ndarray:
    """The images and labels of a split, from the cache, or made by `fill` and kept there.

    Args:
      name: of the split, for people: "cifar10-train". A newer identity under the same name replaces the older file.
      identity: everything that the pixels depend on, as JSON can write it.
      count: how many images, N.
      shape: of one, (H, W, C).
      fill: writes into an array of zeros like the result.

    Returns:
      (N,) with fields "image" (H, W, C) uint8 and "label" int32; read-only and mapped into memory if it is on disk.
      Where the cache can't be written, the array is in memory alone.
    """
    kind = np.dtype([("image", np.uint8, shape), ("label", np.int32)])
    slug = re.sub(r"[^A-Za-z0-9.]+", "_", name)[-60:] + "-" + digest(name)[:8]
    folder = cache_dir() / "arrays"
    path = folder / f"{slug}-{digest([VERSION, identity])}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or cut short
        found: np.ndarray = np.load(path, mmap_mode="r")
        if found.dtype == kind and found.shape == (count,):
            return found
    try:
        temporary, made = _reserve(folder, kind, count)
    except OSError:  # a full disk, a read-only folder
        made = np.zeros(count, kind)
        fill(made)
        return made
    try:
        fill(made)
        made.flush()
        del made  # Windows renames no file that is mapped
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too leaves nothing half-written
        temporary.unlink(missing_ok=True)
        raise
    for old in folder.glob(f"{slug}-*.npy"):
        if old != path:
            with contextlib.suppress(OSError):  # gone, or, on Windows, in use
                old.unlink()
    return np.load(path, mmap_mode="r")


def remembered(kind: str, identity: Any, make: Callable[[], Any]) -> Any:
    """What `make` returned for this identity, from the cache or made now; anything small that JSON can write."""
    path = cache_dir() / kind / f"{digest([VERSION, identity])}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or damaged
        return json.loads(path.read_text(encoding="utf-8"))
    made = make()
    with contextlib.suppress(OSError):  # a full disk, a read-only folder: it is made again next time
        temporary = beside(path.parent)
        temporary.write_text(json.dumps(made), encoding="utf-8")
        temporary.replace(path)
    return made


def _reserve(folder: Path, kind: np.dtype, count: int) -> tuple[Path, np.memmap]:
    """A new file of zeros, mapped into memory, with its room on the disk taken: a write can't fail any more."""
    path = beside(folder)
    try:
        made = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(count,))
        with path.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            else:  # macOS, Windows: zeros that are written have room too
                file.seek(made.offset)
                for start in range(0, made.nbytes, _BLOCK):
                    file.write(bytes(min(_BLOCK, made.nbytes - start)))
    except BaseException:  # Ctrl-C too leaves nothing half-written
        path.unlink(missing_ok=True)
        raise
    return path, made


def beside(folder: Path) -> Path:
    """A name in a folder, made if need be, under which a file can be written before it is moved into place."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{uuid.uuid4().hex}.tmp"
