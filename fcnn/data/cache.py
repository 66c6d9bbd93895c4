"""Decoded images on disk, so that a set is decoded once: a memory-mapped file for each split, valid as long as its
source is what it was."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.utils.errors import UserError
from fcnn.utils.files import new_file, write_bytes

VERSION = 3  # raise it when the same source would decode to other pixels
_BLOCK = 1 << 20  # bytes that are written at once


def data_dir() -> Path:
    """Returns the folder of prepared sets: TFDS_DATA_DIR, or TFDS's own default.

    Raises:
      UserError: there is neither.
    """
    try:
        return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    except RuntimeError:
        raise UserError("there is no home folder for data sets; name a folder by TFDS_DATA_DIR") from None


def cache_dir() -> Path:
    """Returns the folder of what can be computed again; TFDS doesn't take its name for a set's."""
    return data_dir() / "fcnn-cache"


def digest(identity: Any) -> str:
    """Returns a short name for anything that JSON can write."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def cached_arrays(
    name: str, identity: Any, count: int, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]
) -> np.ndarray:
    """Returns the images and labels of a split, from the cache, or computed by `fill` and saved there.

    Args:
      name: of the split, for people: "cifar10-train". A newer identity under the same name replaces the older file.
      identity: everything that the pixels depend on, as JSON can write it.
      count: number of images, N.
      shape: of one, (H, W, C).
      fill: writes into an array of zeros like the result.

    Returns:
      (N,) with fields "image" (H, W, C) uint8 and "label" int32; read-only and mapped into memory if it is on disk.
      Where the cache can't be written, the array is in memory alone.
    """
    dtype = np.dtype([("image", np.uint8, shape), ("label", np.int32)])
    slug = re.sub(r"[^A-Za-z0-9.]+", "_", name)[-60:] + "-" + digest(name)[:8]
    folder = cache_dir() / "arrays"
    path = folder / f"{slug}-{digest([VERSION, identity])}.npy"
    with contextlib.suppress(Exception):  # not there, or whatever a damaged file makes NumPy raise
        stored = np.load(path, mmap_mode="r") if path.is_file() else None
        if stored is not None and stored.dtype == dtype and stored.shape == (count,):
            return stored
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.ExitStack() as opening:  # which removes the file if there is no space for it
                array = _reserve(opening.enter_context(new_file(path)), dtype, count)
                stack.push(opening.pop_all())
        except OSError:  # a full disk, a read-only folder
            array = np.zeros(count, dtype)
            fill(array)
            return array
        fill(array)
        array.flush()
        del array  # Windows renames no file that is mapped
    for old in folder.glob(f"{slug}-*.npy"):
        if old != path:
            with contextlib.suppress(OSError):  # gone, or, on Windows, in use
                old.unlink()
    return np.load(path, mmap_mode="r")


def cached_json(kind: str, identity: Any, compute: Callable[[], Any]) -> Any:
    """Returns what `compute` returned for this identity, from the cache or now; anything small that JSON can write."""
    path = cache_dir() / kind / f"{digest([VERSION, identity])}.json"
    if (value := load_json(path)) is None:
        value = compute()
        save_json(path, value)
    return value


def load_json(path: Path) -> Any:
    """Returns what `save_json` wrote to a file of the cache; None if it isn't there, or isn't that any more."""
    with contextlib.suppress(OSError):
        check, _, text = path.read_bytes().partition(b"\n") if path.is_file() else (b"", b"", b"")
        if check == hashlib.sha256(text).hexdigest().encode():  # a number with another digit would be one, too
            return json.loads(text)
    return None


def save_json(path: Path, value: Any) -> None:
    """Writes a file of the cache; where that isn't possible, it is computed again the next time."""
    text = json.dumps(value).encode()
    with contextlib.suppress(UserError):
        write_bytes(path, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def _reserve(path: Path, dtype: np.dtype, count: int) -> np.memmap:
    """Makes a file one of zeros, mapped into memory, with its space on the disk taken: no write fails any more."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(count,))
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        else:  # macOS, Windows: zeros that are written take space too
            file.seek(array.offset)
            for start in range(0, array.nbytes, _BLOCK):
                file.write(bytes(min(_BLOCK, array.nbytes - start)))
    return array
