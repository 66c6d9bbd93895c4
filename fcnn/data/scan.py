"""Opening every file of a folder once, before training does, and caching the result for as long as the file stays as it
is."""

import dataclasses
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from fcnn.data.cache import VERSION, cache_dir, digest, load_json, save_json
from fcnn.data.decode import (
    EXTENSIONS,
    FORMATS,
    LARGE,
    BadImage,
    header,
    ignore_warnings,
    lowest_highest,
    open_stored,
    plain,
)
from fcnn.data.fingerprint import fingerprint
from fcnn.data.parallel import Progress, each, take_turn

# Formats that share an extension: cameras put several images into one JPEG file and still call it .jpg.
_SAME_EXTENSION = {"MPO": "JPEG", "DIB": "BMP"}
MAX_BYTES = 1 << 30
"""Of a file: the largest image that is decoded has 100 million pixels, of 8 bytes at most."""


@dataclasses.dataclass(frozen=True)
class ImageInfo:
    """What a file holds; of a bad one, only the first three are set."""

    size: int
    mtime_ns: int
    problem: str | None = None
    """Why it can't be used."""
    format: str = ""
    width: int = 0
    height: int = 0
    gray: bool = False
    sha: str = ""
    """Of the file's bytes."""
    hash: int = 0
    """Of the image (`fingerprint.py`), 64 bits."""
    fine_hash: int = 0
    """The same, 256 bits."""
    low: float | None = None
    """The lowest of its gray values, if they have more than 8 bits (`decode.lowest_highest`)."""
    high: float | None = None
    """The highest."""
    truncated: bool = False
    """Whether it has 16 bits a channel and Pillow reads the upper 8 alone."""
    ctime_ns: int = 0
    """When its inode changed: two files that are swapped keep size and mtime."""

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Its lowest and highest gray value, if they have more than 8 bits."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def scan(root: Path, paths: Sequence[str], progress: Progress) -> list[ImageInfo]:
    """Decodes every file whose size or times aren't those of the last scan; `paths` are below `root`."""
    store = cache_dir() / "scans" / f"{digest([VERSION, FORMATS, str(root.resolve())])}.json"
    known = {path: ImageInfo(*values) for path, values in (load_json(store) or {}).items()}
    stats = {path: os.stat(root / path) for path in paths}
    new = [path for path in paths if path not in known or not _is_unchanged(known[path], stats[path])]
    if new:
        with ignore_warnings():
            infos = each(lambda path: _read(root / path, stats[path]), new, "looking at every image", progress)
        known |= zip(new, infos, strict=True)
        save_json(store, {path: dataclasses.astuple(known[path]) for path in paths})
    return [known[path] for path in paths]


def _is_unchanged(info: ImageInfo, stat: os.stat_result) -> bool:
    stamp = (info.size, info.mtime_ns, info.ctime_ns)
    return stamp == (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _read(path: Path, stat: os.stat_result) -> ImageInfo:
    info = ImageInfo(stat.st_size, stat.st_mtime_ns, ctime_ns=stat.st_ctime_ns)
    if stat.st_size == 0:
        return dataclasses.replace(info, problem="zero bytes")
    if stat.st_size > MAX_BYTES:
        return dataclasses.replace(info, problem=f"{stat.st_size:,} bytes, more than any image")
    if stat.st_size > LARGE:
        take_turn()
    try:
        data = path.read_bytes()
        head = header(io.BytesIO(data))
        image = open_stored(io.BytesIO(data), at_least=32)
        ends = lowest_highest(image)
        own_range = (0, 0xFFFF) if ends is None or ends[0] == ends[1] else ends
        coarse, fine = fingerprint(plain(image, own_range), str(ends))
    except OSError as error:
        return dataclasses.replace(info, problem=f"can't be opened: {error.strerror or error}")
    except BadImage as error:
        return dataclasses.replace(info, problem=str(error))
    return dataclasses.replace(
        info,
        **dataclasses.asdict(head),
        sha=hashlib.sha256(data).hexdigest()[:32],
        hash=coarse,
        fine_hash=fine,
        low=ends and ends[0],
        high=ends and ends[1],
    )


def is_mislabeled(path: str, info: ImageInfo) -> bool:
    """Returns whether a file is of another format than its name says."""
    named = EXTENSIONS[os.path.splitext(path)[1].lower()]
    return _SAME_EXTENSION.get(info.format, info.format) != _SAME_EXTENSION.get(named, named)
