"""What is doubtful about a folder of images that can all be read: leaks between splits, contradictions, imbalance, and
gray values of more than 8 bits, whose black and white are the same for a whole set, measured or declared."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fcnn.data.decode import ValueRange
from fcnn.data.layout import Entry
from fcnn.data.scan import ImageInfo, is_mislabeled
from fcnn.utils.text import join, printable

IMBALANCE = 3
"""A note is written if the largest class has this many times the images of the smallest."""
COARSE = 32
"""Fewer gray levels than these, of 256, are too few for a file."""
_DECLARE = "--data.value-range LOW HIGH"


def audit(entries: Sequence[Entry], infos: Sequence[ImageInfo], pairs: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Returns one line for each kind of doubt, with names; `pairs`, (M, 2), are indices of files that show the same."""
    notes = []
    copies = [(entries[i], entries[j], "=" if infos[i].sha == infos[j].sha else "~") for i, j in pairs]
    if leaks := [f"{printable(a.path)} {sign} {printable(b.path)}" for a, b, sign in copies if a.split != b.split]:
        notes.append(
            f"{len(leaks)} images are in two splits (= the same file, ~ nearly the same image), so that the accuracy "
            f"would be of images seen in training: {join(leaks)}"
        )
    if relabeled := [f"{printable(a.path)} {sign} {printable(b.path)}" for a, b, sign in copies if a.name != b.name]:
        notes.append(
            f"{len(relabeled)} images have two labels (= the same file, ~ nearly the same image): {join(relabeled)}"
        )
    if within := sum(a.split == b.split and a.name == b.name for a, b, _ in copies):
        notes.append(f"{within} images have a duplicate or near-duplicate in their class")
    files = list(zip(entries, infos, strict=True))
    if wrong := [f"{printable(e.path)} (is {info.format})" for e, info in files if is_mislabeled(e.path, info)]:
        notes.append(f"{len(wrong)} files are of another format than their names say; they are used: {join(wrong)}")
    for split in ("validation", "test"):
        present = {entry.name for entry in entries if entry.split == split}
        if present and (missing := [printable(name) for name in classes if name not in present]):
            notes.append(f"classes without an image in the {split} split: {join(missing)}")
    train = Counter(entry.name for entry in entries if entry.split == "train")
    few, many = min(classes, key=lambda c: train[c]), max(classes, key=lambda c: train[c])
    if train[many] >= IMBALANCE * train[few]:
        notes.append(
            f"the classes differ in size, from {train[few]:,} ({printable(few)}) to {train[many]:,} "
            f"({printable(many)}) images; --data.class-weights balanced weights them equally"
        )
    return notes


def measure_range(entries: Sequence[Entry], infos: Sequence[ImageInfo]) -> ValueRange | None:
    """Returns the lowest and the highest value in the training files (in all files, if none of those has more than 8
    bits), each without its defective pixels (`decode.lowest_highest`); None if no file has more.

    Files that are held out of training later count as training files: the range, and with it every pixel, is the same
    whatever the seed of the split.
    """
    ranges = [(e.split, info.value_range) for e, info in zip(entries, infos, strict=True) if info.value_range]
    ranges = [ends for split, ends in ranges if split == "train"] or [ends for _, ends in ranges]
    if not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return (low, high) if low < high else (low, max(low + 1, float(np.nextafter(low, np.inf))))


def describe_range(
    entries: Sequence[Entry], infos: Sequence[ImageInfo], value_range: ValueRange | None, *, measured: bool
) -> tuple[str, ...]:
    """Returns the notes on a set with more than 8 bits a channel, a line each, by its range, `measured` or declared."""
    notes = []
    files = [(printable(entry.path), info) for entry, info in zip(entries, infos, strict=True)]
    if truncated := [path for path, info in files if info.truncated]:
        notes.append(
            f"{len(truncated)} files have 16 bits a channel, in color or with transparency, and only the upper 8 are "
            "read: images that use fewer bits become dark and coarse; save them with 8 bits a channel: "
            f"{join(truncated)}"
        )
    ranges = [(path, *info.value_range) for path, info in files if info.value_range]
    if not ranges or value_range is None:
        if value_range:
            notes.append("data.value-range has no effect: no gray file has more than 8 bits")
        return tuple(notes)
    low, high = value_range
    source = f"measured over the training files ({_DECLARE} sets another range)" if measured else "as declared"
    notes.append(
        f"gray values of more than 8 bits in {len(ranges):,} files: {_format(low)} to {_format(high)} become 0 to 255, "
        f"{source}"
    )
    if outside := [f"{path} ({_format(a)} to {_format(b)})" for path, a, b in ranges if a < low or b > high]:
        notes.append(f"{len(outside)} files have values outside of that range, which are clipped: {join(outside, 3)}")
    if narrow := sum(info.gray and not info.value_range for info in infos):
        notes.append(
            f"{narrow:,} gray files have 8 bits and stay as they are beside {len(ranges):,} with more: if one class "
            "has more of one kind, a network can learn the kind of file instead of what the images show"
        )
    levels = np.asarray([(b - a) * 255 / (high - low) + 1 for _, a, b in ranges])
    if np.median(levels) < COARSE:
        path, a, b = max(ranges, key=lambda one: one[2] - one[1])
        notes.append(
            f"{np.count_nonzero(levels < COARSE):,} of {len(ranges):,} files use fewer than {COARSE} of the 256 gray "
            f"levels, because the range is too wide for them (widest file: {path}, {_format(a)} to {_format(b)}); "
            f"remove such files or declare the range, {_DECLARE}"
        )
    return tuple(notes)


def _format(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"
