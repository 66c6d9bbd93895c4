"""How the images of a set are split: every class in proportion, and images that show the same in one split."""

from collections.abc import Mapping, Sequence

import numpy as np

from fcnn.config import DataConfig
from fcnn.data.manifest import UNUSED
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable


def stratified_holdout(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a split in two with every class in proportion.

    Args:
      labels: (N,) int.
      share: what part of the images to hold out, in [0, 1); rounded to whole images over all classes together.
      seed: of the shuffle; the same seed gives the same cut.

    Returns:
      (kept, held_out): the indices of each part, ascending int64.
    """
    # Sorted by class, every k-th image of the sequence is a proportional sample; the shuffle decides which ones.
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    count = round(share * len(labels))
    places = (np.arange(count) + 0.5) * len(labels) / max(count, 1)
    held_out = np.zeros(len(labels), bool)
    held_out[order[places.astype(int)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def cut_splits(
    config: DataConfig,
    labels: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    known: np.ndarray | None = None,
) -> dict[str, tuple[str, np.ndarray]]:
    """Returns, for train, validation and test, which of the set's own splits the images are in and their indices there.

    A set with all three splits keeps them. Of two, the one that isn't train is the test split. What is missing is held
    out of train, in proportion to the classes; `groups`, (N,) int, numbers the images of train that must stay together
    because they show the same. `known`, (N,) str, is what an earlier run has decided of them, "" for nothing: they stay
    where they were. If nothing was held out for validation there, its training images are free for it.
    """
    known = np.full(len(labels["train"]), "") if known is None else known
    train, places = np.flatnonzero(known != UNUSED), {}
    test = "test" if "test" in labels else "validation" if "validation" in labels else None
    if test is None:
        train, held_out = _hold_out("test", train, labels["train"], groups, known, config)
        places["test"] = ("train", held_out)
    else:
        places["test"] = (test, np.arange(len(labels[test])))
    if "validation" in labels and test == "test" and config.val_fraction > 0:
        places["validation"] = ("validation", np.arange(len(labels["validation"])))
    else:
        if not (known == "validation").any():
            known = np.where(known == "train", "", known)
        train, held_out = _hold_out("validation", train, labels["train"], groups, known, config)
        places["validation"] = ("train", held_out)
    if config.num_train is not None:
        if config.num_train > len(train):
            raise UserError(f"data.num-train {config.num_train}: {config.name} has {len(train):,} training images")
        share = config.num_train / len(train)
        train = train[stratified_holdout(labels["train"][train], share, config.split_seed)[1]]
    return {"train": ("train", train)} | places


def _hold_out(
    split: str,
    indices: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None,
    known: np.ndarray,
    config: DataConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts "test" or "validation" of the images at `indices`: those that are known to be in it, and of those of which
    nothing is known its share, as `grouped_holdout`; the others are arguments of `cut_splits`."""
    share = config.test_fraction if split == "test" else config.val_fraction
    new = indices[known[indices] == ""]
    _, chosen = grouped_holdout(labels[new], None if groups is None else groups[new], share, config.split_seed)
    held_out = np.union1d(indices[known[indices] == split], new[chosen])
    return np.setdiff1d(indices, held_out), held_out


def grouped_holdout(
    labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a split in two as `stratified_holdout`, but no group is in both parts.

    A class has as many images held out as there, or as near below as its groups allow; where that is none, the smallest
    group that leaves the class another. `groups` is (N,) int, one number for images that stay together, or None.
    """
    rest, wanted = stratified_holdout(labels, share, seed)
    if groups is None or not len(wanted):
        return rest, wanted
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    single = sizes[group] == 1
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    held_out = np.zeros(len(labels), bool)
    held_out[wanted[single[wanted]]] = True
    wish = np.bincount(labels[wanted], minlength=labels.max() + 1)
    room = wish - np.bincount(labels[held_out], minlength=len(wish))

    def take_those_that_fit(numbers: np.ndarray) -> None:
        for number in numbers:
            counts = np.bincount(labels[members[number]], minlength=len(room))
            if (counts <= room).all():
                held_out[members[number]] = True
                room[:] -= counts

    order = np.random.default_rng([seed, 1]).permutation(len(sizes))  # 1: a sequence apart from the one above
    together = order[sizes[order] > 1]
    is_wanted = np.isin(together, group[wanted])
    take_those_that_fit(together[is_wanted])
    alone = np.asarray([members[number][0] for number in order[sizes[order] == 1]], int)
    alone = alone[~held_out[alone]]
    for label in np.flatnonzero(room):
        more = alone[labels[alone] == label][: room[label]]
        held_out[more] = True
        room[label] -= len(more)
    take_those_that_fit(together[~is_wanted])
    _leave_no_class_out(labels, [members[number] for number in together], wish, held_out)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _leave_no_class_out(labels: np.ndarray, together: list[np.ndarray], wish: np.ndarray, held_out: np.ndarray) -> None:
    """Holds out, for each class that should have an image there and has none, the smallest group that leaves every
    class of the group another image."""
    for label in np.flatnonzero(wish):
        if held_out[labels == label].any():
            continue
        for indices in sorted((indices for indices in together if (labels[indices] == label).any()), key=len):
            after = held_out.copy()
            after[indices] = True
            if all((labels[~after] == one).any() for one in np.unique(labels[indices])):
                held_out[indices] = True
                break


def shortages(
    config: DataConfig,
    labels: np.ndarray,
    groups: np.ndarray,
    places: Mapping[str, tuple[str, np.ndarray]],
    classes: Sequence[str],
) -> list[str]:
    """Returns a line for each split that was held out and has, since duplicates stay together, fewer images of a class
    than its share; `labels` (N,) are those of the set's own training images."""
    notes, left = [], np.arange(len(labels))
    for name, share in (("test", config.test_fraction), ("validation", config.val_fraction)):
        own, held_out = places[name]
        if own != "train" or len(np.unique(groups)) == len(groups):
            continue
        wanted = left[stratified_holdout(labels[left], share, config.split_seed)[1]]
        actual, due = (np.bincount(labels[part], minlength=len(classes)).tolist() for part in (held_out, wanted))
        counts = zip(classes, actual, due, strict=True)
        if fewer := [f"{printable(name)} {count:,} of {share:,}" for name, count, share in counts if count < share]:
            notes.append(
                f"classes with fewer {name} images than their share, because an image and its duplicates stay in one "
                f"split: {join(fewer)}"
            )
        left = np.setdiff1d(left, held_out)
    return notes


def why_empty(groups: np.ndarray | None) -> str:
    """Returns what to add to "no image in a split" if duplicates are the reason."""
    if groups is None or (distinct := len(np.unique(groups))) == len(groups):
        return ""
    return (
        f": only {distinct:,} of its {len(groups):,} images are distinct; duplicates and near-duplicates stay in one "
        "split.\nRemove the duplicates, or sort the images into train/CLASS and test/CLASS yourself"
    )
