"""An earlier run's splits for the images of today (`DataConfig.splits`): what stays where, what has changed since."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fcnn.data.layout import Entry
from fcnn.data.manifest import SPLITS, UNUSED, Manifest, Row
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable


def read_earlier(file: str) -> Manifest:
    """Returns the manifest of an earlier run from its splits.csv; UserError if it can't be read."""
    path, name = Path(file).expanduser(), printable(file)
    try:
        return Manifest.from_csv(path.read_bytes(), name)
    except OSError as error:
        raise UserError(f"data.splits {name} can't be read: {error.strerror}") from None


def past_splits(earlier: Manifest, paths: Sequence[str], hashes: Sequence[str]) -> list[set[str]]:
    """Returns the splits that each image was in, in an earlier run or in one before it: by its content, or, if nothing
    has the content of the file of that name any more, by its path, as it was edited; empty for a new image."""
    by_hash, by_path, now = defaultdict(set), defaultdict(set), set(hashes)
    for row in (*earlier.rows, *earlier.earlier):
        if row.split in SPLITS:
            by_hash[row.hash].add(row.split)
            if row.hash not in now:
                by_path[row.path].add(row.split)
    return [by_hash.get(one) or by_path.get(path, set()) for path, one in zip(paths, hashes, strict=True)]


def known_splits(past: Sequence[set[str]], groups: np.ndarray) -> np.ndarray:
    """Returns the split of each image that is decided by the past, (N,) str; "" of a new image.

    A new image that shows nearly the same as known ones goes where they are, or is UNUSED where they are in several
    splits. What was in several splits by the user's own doing counts as a training image if it was one.

    Args:
      past: of each image, as `past_splits` has it.
      groups: (N,) int, one number for images that show the same.
    """
    known = np.asarray([min(splits, key=SPLITS.index) if splits else "" for splits in past], "<U10")
    seen = defaultdict(set)
    for group, split in zip(groups[known != ""].tolist(), known[known != ""].tolist(), strict=True):
        seen[group].add(split)
    for i in np.flatnonzero(known == ""):
        if splits := seen[int(groups[i])]:
            known[i] = UNUSED if len(splits) > 1 else min(splits)
    return known


def check_layout(past: Sequence[set[str]], entries: Sequence[Entry], file: str) -> None:
    """Raises UserError if a folder's own splits put an image into another split than the past did."""
    own = {entry.split for entry in entries}
    roles = {split: "test" if split == "validation" and "test" not in own else split for split in own}
    fixed = {roles[split] for split in own - {"train"}}
    moved = [
        f"{printable(entry.path)} was in {min(splits)}"
        for entry, splits in zip(entries, past, strict=True)
        if splits and roles[entry.split] not in splits and (entry.split != "train" or splits & fixed)
    ]
    if moved:
        raise UserError(
            f"{len(moved):,} images are in another split than in {printable(file)}: {join(moved, 3)}\n"
            "Move them back: what was trained on can't be tested, nor the other way round"
        )


def follow(earlier: Manifest, rows: Sequence[Row]) -> Manifest:
    """Returns the manifest of a run on `rows` that remembers what the earlier one knew beside."""
    now = {row.hash for row in rows if row.split in SPLITS}
    before = (*earlier.earlier, *(row for row in earlier.rows if row.split in SPLITS))
    return Manifest(tuple(rows), tuple(row for row in before if row.hash not in now))


def changes(earlier: Manifest, now: Manifest, name: str) -> list[str]:
    """Returns what has changed since an earlier run, called `name`, as lines."""
    old, new = ([row for row in manifest.rows if row.split in SPLITS] for manifest in (earlier, now))
    added, removed = (Counter(row.hash for row in rows) for rows in (new, old))
    added, removed = added - removed, removed - added
    edited = {row.path for row in old if row.hash in removed} & {row.path for row in new if row.hash in added}
    files, labels = {(row.hash, row.path) for row in old}, {row.hash: row.name for row in old}
    kept = {(row.hash, row.name) for row in old}  # a file and its copy may be in two classes
    known = [row for row in new if row.hash in labels and row.hash not in added]
    moved = [row for row in known if (row.hash, row.name) not in kept]
    examples = join((f"{printable(row.path)} was {printable(labels[row.hash])}" for row in moved), 3)
    counts = {
        "added": added.total() - len(edited),
        "removed": removed.total() - len(edited),
        "edited": len(edited),
        f"with another label ({examples})": len(moved),
        "renamed": sum((row.hash, row.path) not in files and (row.hash, row.name) in kept for row in known),
        "not used": sum(row.split == UNUSED and row.hash not in labels for row in now.rows),
    }
    lines = [f"since {name}: " + (", ".join(f"{n:,} {kind}" for kind, n in counts.items() if n) or "the same images")]
    for kind, some, others in (("new", now, earlier), ("gone", earlier, now)):
        if names := [one for one in some.classes if one not in others.classes]:
            lines.append(f"classes that are {kind}: {join(map(printable, names))}")
    sizes = [[sum(row.split == split for row in rows) for rows in (old, new)] for split in SPLITS]
    sizes = ", ".join(f"{split} {then:,} -> {today:,}" for split, (then, today) in zip(SPLITS, sizes, strict=True))
    return [*lines, f"images: {sizes}; those of {name} stay in their splits"]
