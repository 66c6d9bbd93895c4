"""What is doubtful about a folder of images that can all be read: leaks between splits, contradictions, imbalance."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fcnn.data.layout import Entry
from fcnn.data.names import listed, shown
from fcnn.data.scan import Seen, mislabelled

IMBALANCE = 3
"""The largest class has this many times the images of the smallest: worth a word."""


def audit(entries: Sequence[Entry], seen: Sequence[Seen], pairs: np.ndarray, classes: Sequence[str]) -> list[str]:
    """One line for each kind of doubt, with names.

    Args:
      entries: the readable files.
      seen: what each turned out to be.
      pairs: (M, 2) indices of files that show the same or nearly the same.
      classes: all names.
    """
    notes = []
    twins = [(entries[i], entries[j], seen[i].sha == seen[j].sha) for i, j in pairs]
    leaks = [_pair(a, b, same) for a, b, same in twins if a.split != b.split]
    if leaks:
        notes.append(
            f"{len(leaks)} images are in two splits (= the same file, ~ nearly the same image), so that the accuracy "
            f"would be of images seen in training: {listed(leaks)}"
        )
    unlike = [_pair(a, b, same) for a, b, same in twins if a.name != b.name]
    if unlike:
        notes.append(f"{len(unlike)} images are there under two labels (= the same, ~ nearly): {listed(unlike)}")
    within = sum(a.split == b.split and a.name == b.name for a, b, _ in twins)
    if within:
        notes.append(f"{within} images are there twice, or nearly, in one class")
    wrong = [f"{shown(e.path)} (is {s.format})" for e, s in zip(entries, seen, strict=True) if mislabelled(e.path, s)]
    if wrong:
        notes.append(f"{len(wrong)} files are of another format than their names say, and are used: {listed(wrong)}")
    return notes + _balance(entries, classes)


def _pair(a: Entry, b: Entry, same: bool) -> str:
    return f"{shown(a.path)} {'=' if same else '~'} {shown(b.path)}"


def _balance(entries: Sequence[Entry], classes: Sequence[str]) -> list[str]:
    notes = []
    by_split = {
        split: Counter(e.name for e in entries if e.split == split) for split in ("train", "validation", "test")
    }
    train = by_split.pop("train")
    for split, counts in by_split.items():
        missing = [shown(name) for name in classes if not counts[name]]
        if counts and missing:
            notes.append(f"classes without an image in the {split} split: {listed(missing)}")
    few, many = min(classes, key=lambda c: train[c]), max(classes, key=lambda c: train[c])
    if train[many] >= IMBALANCE * train[few]:
        notes.append(
            f"the classes are of unlike sizes, from {train[few]:,} ({shown(few)}) to {train[many]:,} ({shown(many)}) "
            "training images; --data.class-weights balanced makes them count the same"
        )
    return notes
