"""`folder:PATH`: one's own images, looked at before training starts, then decoded once."""

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.config import DataConfig
from fcnn.data.arrays import cached, digest
from fcnn.data.audit import audit
from fcnn.data.dataset import Split
from fcnn.data.decode import quiet
from fcnn.data.files import Files
from fcnn.data.fingerprint import groups, near_pairs
from fcnn.data.layout import Entry, Layout, listed, read_layout, shown
from fcnn.data.parallel import Track, each
from fcnn.data.scan import Seen, scan
from fcnn.data.streamed import Streamed, streams
from fcnn.errors import UserError

IMAGE_SIZE = 128
"""Pixels of a side unless the config says otherwise."""


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder whose files have all been looked at."""

    root: Path
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    """The readable files, in the order train, validation, test."""
    seen: tuple[Seen, ...]
    """What each turned out to be."""
    groups: np.ndarray
    """(N,) int: files with one number show the same, or nearly."""
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def labels(self) -> np.ndarray:
        """(N,) int32, in the order of `classes`."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.asarray([index[entry.name] for entry in self.entries], np.int32)

    @property
    def channels(self) -> int:
        """1 if every image is grey, else 3."""
        return 1 if all(seen.grey for seen in self.seen) else 3

    def places(self, split: str) -> slice:
        """Where a split's files are in `entries`."""
        found = [i for i, entry in enumerate(self.entries) if entry.split == split]
        return slice(found[0], found[-1] + 1) if found else slice(0, 0)


def examine(root: Path, on_bad_image: str, track: Track) -> Folder:
    """Looks at every file of a folder, and at the whole.

    Raises:
      UserError: there is nothing to learn from, or, with `on_bad_image` "error", a file that can't be read.
    """
    layout = read_layout(root)
    found = scan(root, [entry.path for entry in layout.entries], track)
    bad = list(layout.bad)
    bad += [(e.path, s.problem) for e, s in zip(layout.entries, found, strict=True) if s.problem is not None]
    skipped = [f"{shown(path)} ({reason})" for path, reason in sorted(bad)]
    if skipped and on_bad_image == "error":
        raise UserError(
            f"{len(bad)} of the {len(layout.entries) + len(layout.bad):,} files in {shown(str(root))} can't be used: "
            f"{listed(skipped, 10)}\nMend or remove them, or go on without them: --data.on-bad-image skip"
        )
    good = [(entry, seen) for entry, seen in zip(layout.entries, found, strict=True) if seen.problem is None]
    entries, seen = tuple(entry for entry, _ in good), tuple(seen for _, seen in good)
    _check_classes(layout, entries)
    pairs = near_pairs(np.asarray([one.hash for one in seen], np.uint64))
    notes = [*layout.notes, *audit(entries, seen, pairs, layout.classes)]
    together = groups(len(entries), pairs)
    return Folder(root, layout.classes, entries, seen, together, tuple(skipped), tuple(notes))


def _check_classes(layout: Layout, entries: tuple[Entry, ...]) -> None:
    """UserError unless there are several classes, each with an image to learn from."""
    root = shown(str(layout.root))
    if len(layout.classes) == 1:
        raise UserError(f"{root} has a single class, {shown(layout.classes[0])}: there is nothing to tell apart")
    train = Counter(entry.name for entry in entries if entry.split == "train")
    if empty := [shown(name) for name in layout.classes if not train[name]]:
        raise UserError(
            f"{root} has classes without a readable training image: {listed(empty)}; add images or remove their folders"
        )


def load_folder(root: Path, config: DataConfig, track: Track) -> dict[str, Any]:
    """The splits of a folder, decoded or to be streamed, and what is to be told about it.

    Returns:
      "classes", "splits", "groups" (of the train split), "skipped", "files" and "notes".
    """
    folder = examine(root, config.on_bad_image, track)
    files = _files(folder, config.image_size or IMAGE_SIZE)
    if streams(config.feed, math.prod(files.shape)):
        whole = Streamed(files, folder.labels, np.arange(len(folder.labels)))
    else:
        decoded = _decode(folder, files, track)
        whole = Split(decoded["image"], decoded["label"])
    splits = {}
    for split in ("train", "validation", "test"):
        part = folder.places(split)
        if part.stop > part.start:
            splits[split] = whole.take(part)
    return {
        "classes": folder.classes,
        "splits": splits,
        "groups": folder.groups[folder.places("train")],
        "skipped": folder.skipped,
        "files": _describe(folder.seen),
        "notes": folder.notes,
    }


def _describe(seen: tuple[Seen, ...]) -> str:
    """Formats and sizes, the most frequent first."""
    formats = ", ".join(name for name, _ in Counter(one.format for one in seen).most_common())
    sizes = Counter((one.width, one.height) for one in seen).most_common()
    told = [f"{width} x {height} ({count:,})" for (width, height), count in sizes]
    return f"{formats}; {listed(told, 3)}{' sizes' if len(told) > 3 else ''}"


def _files(folder: Folder, size: int) -> Files:
    """All readable files, each a square of `size` pixels a side."""
    files = [[e.path, s.size, s.mtime_ns] for e, s in zip(folder.entries, folder.seen, strict=True)]
    identity = digest([str(folder.root.resolve()), files, list(folder.classes), size, folder.channels])
    return Files(folder.root, tuple(entry.path for entry in folder.entries), size, folder.channels, identity)


def _decode(folder: Folder, files: Files, track: Track) -> np.ndarray:
    """All of them, (N,) with "image" (size, size, channels) uint8 and "label", from the cache if they are."""

    def fill(out: np.ndarray) -> None:
        def one(i: int) -> None:
            out["image"][i] = files.decode(i)

        out["label"] = folder.labels
        with quiet():
            each(one, range(len(out)), "decoding", track)

    name = f"{folder.root.resolve()}-{files.size}"
    return cached(name, files.identity, len(files.paths), files.shape[1:], fill)
