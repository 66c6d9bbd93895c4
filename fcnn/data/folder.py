"""`folder:PATH`: one's own images, looked at before training starts, then decoded once."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcnn.config import DataConfig
from fcnn.data import value_range
from fcnn.data.audit import audit
from fcnn.data.cache import cached, digest
from fcnn.data.dataset import AnySplit, Split
from fcnn.data.decode import ValueRange, quiet
from fcnn.data.files import Files
from fcnn.data.fingerprint import duplicates
from fcnn.data.layout import Entry, Layout, read_layout
from fcnn.data.manifest import SPLITS, Manifest, Row, compare, left
from fcnn.data.names import listed, shown
from fcnn.data.parallel import Progress, each
from fcnn.data.scan import Seen, scan
from fcnn.data.streamed import Streamed, streams
from fcnn.utils.errors import UserError

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
    """(N,) int: files with one number show nearly the same as one of them."""
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def labels(self) -> np.ndarray:
        """(N,) int32, in the order of `classes`."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.asarray([index[entry.name] for entry in self.entries], np.int32)

    @property
    def channels(self) -> int:
        """1 if every image is gray, else 3."""
        return 1 if all(seen.gray for seen in self.seen) else 3

    def places(self, split: str) -> slice:
        """Where a split's files are in `entries`."""
        found = [i for i, entry in enumerate(self.entries) if entry.split == split]
        return slice(found[0], found[-1] + 1) if found else slice(0, 0)


class Readable(NamedTuple):
    """The files of a folder that can be read."""

    layout: Layout
    entries: tuple[Entry, ...]
    """In the order train, validation, test."""
    seen: tuple[Seen, ...]
    """What each turned out to be."""
    bad: tuple[tuple[str, str], ...]
    """Paths of what can't be read, and why."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """The same to be shown."""
        return tuple(f"{shown(path)} ({reason})" for path, reason in self.bad)

    def hashes(self) -> dict[str, str]:
        """Path -> hash of every file; "" where it can't be read."""
        good = {entry.path: seen.sha for entry, seen in zip(self.entries, self.seen, strict=True)}
        return good | {path: "" for path, _ in self.bad}


def readable(root: Path, on_bad_image: str, progress: Progress) -> Readable:
    """Opens every file of a folder.

    Raises:
      UserError: there is no class in it, or, with `on_bad_image` "error", a file that can't be read.
    """
    layout = read_layout(root)
    found = scan(root, [entry.path for entry in layout.entries], progress)
    bad = list(layout.bad)
    bad += [(e.path, s.problem) for e, s in zip(layout.entries, found, strict=True) if s.problem is not None]
    good = [(entry, seen) for entry, seen in zip(layout.entries, found, strict=True) if seen.problem is None]
    files = Readable(layout, tuple(e for e, _ in good), tuple(s for _, s in good), tuple(sorted(bad)))
    if bad and on_bad_image == "error":
        raise UserError(
            f"{len(bad)} of the {len(layout.entries) + len(layout.bad):,} files in {shown(str(root))} can't be used: "
            f"{listed(files.skipped, 10)}\nFix or delete them, or pass --data.on-bad-image skip"
        )
    return files


def examine(root: Path, on_bad_image: str, progress: Progress) -> Folder:
    """Looks at every file of a folder, and at the whole.

    Raises:
      UserError: there is nothing to learn from, or, with `on_bad_image` "error", a file that can't be read.
    """
    files = readable(root, on_bad_image, progress)
    layout, entries, seen = files.layout, files.entries, files.seen
    _check_classes(layout, entries)
    pairs, groups = duplicates([(one.hash, one.look) for one in seen])
    notes = [*layout.notes, *audit(entries, seen, pairs, layout.classes)]
    return Folder(root, layout.classes, entries, seen, groups, files.skipped, tuple(notes))


def _check_classes(layout: Layout, entries: tuple[Entry, ...]) -> None:
    """UserError unless there are several classes, each with an image to learn from."""
    root = shown(str(layout.root))
    if len(layout.classes) == 1:
        raise UserError(f"{root} has a single class, {shown(layout.classes[0])}: there is nothing to tell apart")
    train = Counter(entry.name for entry in entries if entry.split == "train")
    if empty := [shown(name) for name in layout.classes if not train[name]]:
        nested = f"\nFolders inside a class are not read: {listed(map(shown, layout.nested))}" if layout.nested else ""
        raise UserError(
            f"{root} has classes without a readable training image: {listed(empty)}; add images or remove their folders"
            + nested
        )


def load_folder(root: Path, config: DataConfig, progress: Progress) -> dict[str, Any]:
    """The splits of a folder, decoded or to be streamed, and what is to be told about it.

    Returns:
      "classes", "splits", "groups" (of the train split), "rows" (of each split, for the run's manifest), "skipped",
      "files", "value_range" and "notes".
    """
    folder = examine(root, config.on_bad_image, progress)
    used = config.value_range or value_range.measure(folder.entries, folder.seen)
    whole = _pixels(folder, config, folder.channels, used, progress)
    splits, rows = {}, {}
    for split in SPLITS:
        part = folder.places(split)
        if part.stop > part.start:
            splits[split] = whole.take(part)
            files = zip(folder.entries[part], folder.seen[part], strict=True)
            rows[split] = tuple(Row(split, entry.name, entry.path, seen.sha) for entry, seen in files)
    return {
        "classes": folder.classes,
        "splits": splits,
        "groups": folder.groups[folder.places("train")],
        "rows": rows,
        "skipped": folder.skipped,
        "files": _describe(folder.seen),
        "value_range": used,
        "notes": folder.notes
        + value_range.describe(folder.entries, folder.seen, used, measured=config.value_range is None),
    }


def load_listed(
    root: Path,
    config: DataConfig,
    manifest: Manifest,
    channels: int,
    *,
    exact: bool,
    log: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Loads exactly the files of a run, in the run's splits.

    Args:
      root: the folder, where the run had it or elsewhere.
      manifest: of the run.
      channels: of the run's images.
      exact: whether every file must be there and unchanged, and no other; else what differs is said and left out.
      say: is told what differs.

    Returns:
      "classes", "splits" (all three), "manifest" (what is left of it), "skipped", "files" and "value_range".

    Raises:
      UserError: a file differs and `exact`, or no file of the run is left.
    """
    found = readable(root, config.on_bad_image if exact else "skip", progress)
    hashes = found.hashes()
    changes = compare(manifest, hashes)
    used = tuple(row for row in manifest.rows if hashes.get(row.path) == row.hash)
    where = shown(str(root))
    if changes and exact:
        raise UserError(
            f"the files in {where} are no longer those that the run began with: {changes}; "
            "bring them back or take another --workdir"
        )
    if not used:
        raise UserError(f"none of the run's {len(manifest.rows):,} files is in {where}")
    if changes:
        rest = "" if len(used) == len(manifest.rows) else f"; what is left of the run's: {left(manifest, used)}"
        log(f"The files in {where} have changed since the run began: {changes}. None of these is used{rest}.")
    # In the layout's order, in which the run's start has decoded them.
    mine = {row.path for row in used}
    kept = [(entry, one) for entry, one in zip(found.entries, found.seen, strict=True) if entry.path in mine]
    files = Folder(
        root, manifest.classes, tuple(e for e, _ in kept), tuple(s for _, s in kept), np.arange(len(kept)), (), ()
    )
    whole = _pixels(files, config, channels, config.value_range, progress)
    place = {entry.path: i for i, (entry, _) in enumerate(kept)}
    return {
        "classes": manifest.classes,
        "splits": {
            split: whole.take(np.asarray([place[row.path] for row in used if row.split == split], int))
            for split in SPLITS
        },
        "manifest": Manifest(used),
        "skipped": found.skipped,
        "files": _describe(files.seen),
        "value_range": config.value_range,
    }


def _pixels(folder: Folder, config: DataConfig, channels: int, used: ValueRange | None, progress: Progress) -> AnySplit:
    """All files of a folder, decoded or to be streamed."""
    files = _files(folder, config.image_size or IMAGE_SIZE, channels, used)
    if streams(config.pipeline, math.prod(files.shape)):
        return Streamed(files, folder.labels, np.arange(len(folder.labels)))
    decoded = _decode(folder, files, progress)
    return Split(decoded["image"], decoded["label"])


def _describe(seen: tuple[Seen, ...]) -> str:
    """Formats and sizes, the most frequent first."""
    formats = ", ".join(name for name, _ in Counter(one.format for one in seen).most_common())
    sizes = Counter((one.width, one.height) for one in seen).most_common()
    told = [f"{width} x {height} ({count:,})" for (width, height), count in sizes]
    return f"{formats}; {listed(told, 3)}{' sizes' if len(told) > 3 else ''}"


def _files(folder: Folder, size: int, channels: int, used: ValueRange | None) -> Files:
    """All readable files, each a square of `size` pixels a side."""
    files = [[e.path, s.sha] for e, s in zip(folder.entries, folder.seen, strict=True)]
    identity = digest([str(folder.root.resolve()), files, list(folder.classes), size, channels, used])
    return Files(folder.root, tuple(entry.path for entry in folder.entries), size, channels, identity, used)


def _decode(folder: Folder, files: Files, progress: Progress) -> np.ndarray:
    """All of them, (N,) with "image" (size, size, channels) uint8 and "label", from the cache if they are."""

    def fill(out: np.ndarray) -> None:
        def one(i: int) -> None:
            out["image"][i] = files.decode(i)

        out["label"] = folder.labels
        with quiet():
            each(one, range(len(out)), "decoding", progress)

    name = f"{folder.root.resolve()}-{files.size}"
    return cached(name, files.identity, len(files.paths), files.shape[1:], fill)
