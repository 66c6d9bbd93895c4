"""`folder:PATH`: one's own images, checked before training starts, then decoded once."""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcnn.config import DataConfig
from fcnn.data.audit import audit, describe_range, measure_range
from fcnn.data.cache import cached_arrays, digest
from fcnn.data.corrections import correct
from fcnn.data.dataset import AnySplit, Split
from fcnn.data.decode import ValueRange, ignore_warnings
from fcnn.data.earlier import check_layout, known_splits, past_splits, read_earlier
from fcnn.data.fingerprint import duplicates
from fcnn.data.layout import Entry, Layout, read_layout
from fcnn.data.manifest import SPLITS, UNUSED, Manifest, Row, RunFiles, compare, remaining
from fcnn.data.parallel import Progress, each
from fcnn.data.scan import ImageInfo, scan
from fcnn.data.streamed import Files, Streamed, streams
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable

IMAGE_SIZE = 128
"""Pixels of a side unless the config says otherwise."""


class FolderScan(NamedTuple):
    """The files of a folder, each opened once."""

    layout: Layout
    entries: tuple[Entry, ...]
    """The readable files, in the order train, validation, test."""
    infos: tuple[ImageInfo, ...]
    """Of each."""
    bad: tuple[tuple[str, str], ...]
    """Paths of what can't be read, and why."""
    removed: tuple[Row, ...] = ()
    """What corrections leave out."""
    corrected: tuple[Entry, ...] = ()
    """The files whose labels corrections change, unreadable ones too."""
    note: str | None = None
    """What corrections change, in a line."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """The same as lines: "path (reason)"."""
        return tuple(f"{printable(path)} ({reason})" for path, reason in self.bad)

    def hashes(self) -> dict[str, str]:
        """Returns path -> hash of every file; "" where it can't be read."""
        good = {entry.path: info.sha for entry, info in zip(self.entries, self.infos, strict=True)}
        return good | {path: "" for path, _ in self.bad} | {row.path: row.hash for row in self.removed}


def scan_folder(root: Path, on_bad_image: str, progress: Progress, corrections: str | None = None) -> FolderScan:
    """Opens every file of a folder.

    Args:
      corrections: as `DataConfig.corrections`; what it leaves out may be a file that can't be read.

    Raises:
      UserError: there is no class in it, or, with `on_bad_image` "error", a file that can't be read; or as `correct`.
    """
    corrected = correct(read_layout(root), corrections)
    layout, entries = corrected.layout, (*corrected.layout.entries, *corrected.removed)
    files = list(zip(entries, scan(root, [entry.path for entry in entries], progress), strict=True))
    files, removed = files[: len(layout.entries)], files[len(layout.entries) :]
    bad = [*layout.bad, *((entry.path, info.problem) for entry, info in files if info.problem is not None)]
    good = [(entry, info) for entry, info in files if info.problem is None]
    folder = FolderScan(
        layout,
        tuple(e for e, _ in good),
        tuple(info for _, info in good),
        tuple(sorted(bad)),
        tuple(Row(UNUSED, entry.name, entry.path, info.sha) for entry, info in removed),
        corrected.changed,
        corrected.note,
    )
    if bad and on_bad_image == "error":
        raise UserError(
            f"{len(bad)} of the {len(layout.entries) + len(layout.bad):,} files in {printable(str(root))} can't be "
            f"used: {join(folder.skipped, 10)}\nFix or delete them, or pass --data.on-bad-image skip"
        )
    return folder


def median_side(root: Path, config: DataConfig, progress: Progress) -> int:
    """Returns the median of the shorter sides of a folder's images, in pixels; UserError as for `load_folder`."""
    infos = scan_folder(root, config.on_bad_image, progress, config.corrections).infos
    return int(np.median([min(info.width, info.height) for info in infos])) if infos else IMAGE_SIZE


def load_folder(root: Path, config: DataConfig, progress: Progress) -> dict[str, Any]:
    """Returns the splits of a folder, decoded or to be streamed, and the notes on it.

    Returns:
      "classes", "splits", "groups" (of the train split), "rows" (of each split, for the run's manifest), "removed" (the
      rows of what corrections leave out), "skipped", "files", "value_range" and "notes"; with `config.splits` also
      "earlier", the manifest of that run, and "known" (of the train split, as `cut_splits` takes it).

    Raises:
      UserError: there is nothing to learn from, or, as `data.on-bad-image` says, a file that can't be read.
    """
    folder = scan_folder(root, config.on_bad_image, progress, config.corrections)
    classes, entries, infos = folder.layout.classes, folder.entries, folder.infos
    _check_classes(folder.layout, entries)
    pairs, groups = duplicates([(info.hash, info.fine_hash) for info in infos])
    value_range = config.value_range or measure_range(entries, infos)
    channels = 1 if all(info.gray for info in infos) else 3
    images = _read(root, config, classes, entries, infos, channels, value_range, progress)
    splits, rows, start = {}, {}, 0
    for split, files in itertools.groupby(zip(entries, infos, strict=True), key=lambda file: file[0].split):
        rows[split] = tuple(Row(split, entry.name, entry.path, info.sha) for entry, info in files)
        stop = start + len(rows[split])
        splits[split], start = images.take(slice(start, stop)), stop
    return {
        "classes": classes,
        "splits": splits,
        "groups": groups[: len(rows["train"])],
        **(_earlier(config.splits, entries, infos, groups) if config.splits is not None else {}),
        "rows": rows,
        "removed": folder.removed,
        "skipped": folder.skipped,
        "files": _describe(infos),
        "value_range": value_range,
        "notes": (
            *folder.layout.notes,
            *([folder.note] if folder.note else []),
            *audit(entries, infos, pairs, classes),
            *describe_range(entries, infos, value_range, measured=config.value_range is None),
        ),
    }


def _earlier(file: str, entries: Sequence[Entry], infos: Sequence[ImageInfo], groups: np.ndarray) -> dict[str, Any]:
    """Returns "earlier" and "known" of `load_folder`; UserError if the folder's own splits contradict them."""
    earlier = read_earlier(file)
    past = past_splits(earlier, [entry.path for entry in entries], [info.sha for info in infos])
    check_layout(past, entries, file)
    known = known_splits(past, groups)
    return {"earlier": earlier, "known": known[: sum(entry.split == "train" for entry in entries)]}


def _check_classes(layout: Layout, entries: Sequence[Entry]) -> None:
    """Raises UserError unless there are several classes, each with an image to learn from."""
    root = printable(str(layout.root))
    if len(layout.classes) == 1:
        raise UserError(f"{root} has a single class, {printable(layout.classes[0])}; a classifier needs two or more")
    train = {entry.name for entry in entries if entry.split == "train"}
    if empty := [printable(name) for name in layout.classes if name not in train]:
        nested = join(map(printable, layout.nested))
        raise UserError(
            f"{root} has classes without a readable training image: {join(empty)}; add images or remove their folders"
            + (f"\nFolders inside a class are not read: {nested}" if nested else "")
        )


def load_run_files(
    root: Path, config: DataConfig, run: RunFiles, log: Callable[[str], None], progress: Progress
) -> dict[str, Any]:
    """Loads exactly the files of a run, in the run's splits.

    Args:
      run: its files. Unless `run.exact`, what differs is logged and left out.

    Returns:
      "classes", "splits" (all three), "groups" (of the training images), "manifest" (what is left of it), "skipped",
      "files" and "value_range".

    Raises:
      UserError: a file differs and `run.exact`, or no file of the run is left.
    """
    # Its labels are those of its manifest. Whether the corrections still give them matters to who goes on with it.
    corrections = config.corrections if run.exact else None
    folder = scan_folder(root, config.on_bad_image if run.exact else "skip", progress, corrections)
    hashes, manifest, name = folder.hashes(), run.manifest, printable(str(root))
    changes, rows = compare(manifest, hashes), manifest.unchanged(hashes)
    if changes and run.exact:
        raise UserError(
            f"the files in {name} are no longer those that the run began with: {changes}; "
            "bring them back or take another --workdir"
        )
    if corrections is not None:
        _check_labels(folder.entries, manifest, printable(corrections))
    if not rows:
        raise UserError(f"none of the run's {len(manifest.rows):,} files is in {name}")
    if changes:
        rest = "" if len(rows) == len(manifest.rows) else f"; what is left of the run's: {remaining(manifest, rows)}"
        log(f"The files in {name} have changed since the run began: {changes}. None of these is used{rest}.")
    # In the layout's order, in which the run's start has decoded them.
    names = {row.path: row.name for row in rows}
    files = [
        (dataclasses.replace(entry, name=names[entry.path]), info)
        for entry, info in zip(folder.entries, folder.infos, strict=True)
        if entry.path in names
    ]
    entries, infos = (tuple(part) for part in zip(*files, strict=True))
    images = _read(root, config, manifest.classes, entries, infos, run.channels, config.value_range, progress)
    position = {entry.path: i for i, entry in enumerate(entries)}
    places = {split: np.asarray([position[row.path] for row in rows if row.split == split], int) for split in SPLITS}
    _, groups = duplicates([(info.hash, info.fine_hash) for info in infos])
    return {
        "classes": manifest.classes,
        "splits": {split: images.take(indices) for split, indices in places.items()},
        "groups": groups[places["train"]],
        "manifest": Manifest(rows),
        "skipped": folder.skipped,
        "files": _describe(infos),
        "value_range": config.value_range,
    }


def _check_labels(entries: Sequence[Entry], manifest: Manifest, corrections: str) -> None:
    """Raises UserError if a run's images don't have the labels that they had when it began."""
    labels = {entry.path: entry.name for entry in entries}
    changed = [row for row in manifest.rows if row.split in SPLITS and labels.get(row.path) != row.name]
    if changed:
        examples = join((f"{printable(row.path)} was {printable(row.name)}" for row in changed), 3)
        raise UserError(
            f"{corrections} no longer gives {len(changed):,} images the labels that the run began with: {examples}\n"
            "Bring it back or take another --workdir"
        )


def _read(
    root: Path,
    config: DataConfig,
    classes: Sequence[str],
    entries: Sequence[Entry],
    infos: Sequence[ImageInfo],
    channels: int,
    value_range: ValueRange | None,
    progress: Progress,
) -> AnySplit:
    """Returns all files with their labels, in their order: decoded, from the cache if they are there, or streamed."""
    size, folder = config.image_size or IMAGE_SIZE, str(root.resolve())
    hashes = [[entry.path, info.sha] for entry, info in zip(entries, infos, strict=True)]
    identity = digest([folder, hashes, list(classes), size, channels, value_range])
    files = Files(root, tuple(entry.path for entry in entries), size, channels, identity, value_range)
    index = {name: i for i, name in enumerate(classes)}
    labels = np.asarray([index[entry.name] for entry in entries], np.int32)
    if streams(config.pipeline, math.prod(files.shape)):
        return Streamed(files, labels, np.arange(len(labels)))

    def fill(out: np.ndarray) -> None:
        def decode(i: int) -> None:
            out["image"][i] = files.decode(i)

        out["label"] = labels
        with ignore_warnings():
            each(decode, range(len(out)), "decoding", progress)

    decoded = cached_arrays(f"{folder}-{size}", identity, len(labels), files.shape[1:], fill)
    return Split(decoded["image"], labels)  # those in the cache may be from before a correction


def _describe(infos: Sequence[ImageInfo]) -> str:
    """Returns the formats and sizes, the most frequent first."""
    formats = ", ".join(name for name, _ in Counter(info.format for info in infos).most_common())
    counts = Counter((info.width, info.height) for info in infos).most_common()
    sizes = [f"{width} x {height} ({count:,})" for (width, height), count in counts]
    return f"{formats}; {join(sizes, 3)}{' sizes' if len(sizes) > 3 else ''}"
