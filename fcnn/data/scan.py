"""Opening every file of a folder once, before training does, and remembering what was found for as long as it stays as
it is."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from fcnn.data.cache import VERSION, beside, cache_dir, digest
from fcnn.data.decode import EXTENSIONS, FORMATS, BadImage, header, lowest_highest, open_stored, plain, quiet
from fcnn.data.fingerprint import fingerprint
from fcnn.data.parallel import Progress, each

# Formats that share an extension: cameras put several images into one JPEG file and still call it .jpg.
_SAME = {"MPO": "JPEG", "DIB": "BMP"}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a file turned out to be; of a bad one, only the first three are meant."""

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
    """Of what it looks like (`fingerprint.py`), 64 bits."""
    look: int = 0
    """The same, 256 bits."""
    low: float | None = None
    """The lowest of its gray values, if they have more than 8 bits (`decode.lowest_highest`)."""
    high: float | None = None
    """The highest."""
    cut: bool = False
    """Whether it has 16 bits a channel and Pillow reads the upper 8 alone."""
    ctime_ns: int = 0
    """When its inode changed: two files that are swapped keep size and mtime."""

    @property
    def wide(self) -> bool:
        """Whether its gray values have more than 8 bits."""
        return self.low is not None


def scan(root: Path, paths: Sequence[str], progress: Progress) -> list[Seen]:
    """Decodes every file whose size or time isn't that of the last scan.

    Args:
      root: the folder.
      paths: of the files, below it.
      track: shows progress.
    """
    store = cache_dir() / "scans" / f"{digest([VERSION, FORMATS, str(root.resolve())])}.json"
    known = _read(store)
    stats = [os.stat(root / path) for path in paths]
    new = [
        i
        for i, (path, at) in enumerate(zip(paths, stats, strict=True))
        if path not in known or _stamp(known[path]) != (at.st_size, at.st_mtime_ns, at.st_ctime_ns)
    ]
    if new:
        with quiet():
            found = each(lambda i: _look(root / str(paths[i]), stats[i]), new, "looking at every image", progress)
        for i, seen in zip(new, found, strict=True):
            known[paths[i]] = dataclasses.replace(seen, ctime_ns=stats[i].st_ctime_ns)
        _write(store, {path: known[path] for path in paths})
    return [known[path] for path in paths]


def _stamp(seen: Seen) -> tuple[int, int, int]:
    return seen.size, seen.mtime_ns, seen.ctime_ns


def _look(path: Path, at: os.stat_result) -> Seen:
    if at.st_size == 0:
        return Seen(0, at.st_mtime_ns, "zero bytes")
    try:
        data = path.read_bytes()
        said = header(io.BytesIO(data))
        image = open_stored(io.BytesIO(data), at_least=32)
        ends = lowest_highest(image)
        own = (0, 0xFFFF) if ends is None or ends[0] == ends[1] else ends
        hash, look = fingerprint(plain(image, own), str(ends))
    except OSError as error:
        return Seen(at.st_size, at.st_mtime_ns, f"can't be opened: {error.strerror or error}")
    except BadImage as error:
        return Seen(at.st_size, at.st_mtime_ns, str(error))
    sha = hashlib.sha256(data).hexdigest()[:32]
    return Seen(
        size=at.st_size,
        mtime_ns=at.st_mtime_ns,
        format=said.format,
        width=said.width,
        height=said.height,
        gray=said.gray,
        sha=sha,
        hash=hash,
        look=look,
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        cut=said.cut,
    )


def mislabelled(path: str, seen: Seen) -> bool:
    """Whether a file is of another format than its name says."""
    said = EXTENSIONS[os.path.splitext(path)[1].lower()]
    return _SAME.get(seen.format, seen.format) != _SAME.get(said, said)


def _read(store: Path) -> dict[str, Seen]:
    with contextlib.suppress(OSError, ValueError, TypeError):  # none yet, or damaged: everything is looked at again
        return {path: Seen(*values) for path, values in json.loads(store.read_text(encoding="utf-8")).items()}
    return {}


def _write(store: Path, seen: dict[str, Seen]) -> None:
    """Keeps a scan; where that isn't possible, the next one does the work again."""
    with contextlib.suppress(OSError):
        temporary = beside(store.parent)
        temporary.write_text(
            json.dumps({path: dataclasses.astuple(one) for path, one in seen.items()}), encoding="utf-8"
        )
        temporary.replace(store)
