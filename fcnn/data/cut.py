"""Which images are in which split: every class in proportion, and images that show the same in one split."""

from collections.abc import Mapping, Sequence

import numpy as np

from fcnn.config import DataConfig
from fcnn.data.dataset import stratified_holdout
from fcnn.data.names import listed, shown
from fcnn.utils.errors import UserError


def cut_splits(
    config: DataConfig, labels: Mapping[str, np.ndarray], groups: np.ndarray | None
) -> dict[str, tuple[str, np.ndarray]]:
    """For train, validation and test: which of the set's own splits the images are in, and their indices there.

    With all three of its own, it keeps them. With two, the one that isn't train is the test split. What is missing is
    held out of train, in proportion to the classes; `groups`, (N,) int, numbers the images of train that must stay
    together because they show the same.
    """
    train, places = np.arange(len(labels["train"])), {}
    test = "test" if "test" in labels else "validation" if "validation" in labels else None
    if test is None:
        train, held_out = grouped_holdout(labels["train"], groups, config.test_fraction, config.split_seed)
        places["test"] = ("train", held_out)
    else:
        places["test"] = (test, np.arange(len(labels[test])))
    if "validation" in labels and test == "test" and config.val_fraction > 0:
        places["validation"] = ("validation", np.arange(len(labels["validation"])))
    else:
        together = None if groups is None else groups[train]
        kept, held_out = grouped_holdout(labels["train"][train], together, config.val_fraction, config.split_seed)
        places["validation"] = ("train", train[held_out])
        train = train[kept]
    if config.num_train is not None:
        if config.num_train > len(train):
            raise UserError(f"data.num-train {config.num_train}: {config.name} has {len(train):,} training images")
        share = config.num_train / len(train)
        train = train[stratified_holdout(labels["train"][train], share, config.split_seed)[1]]
    return {"train": ("train", train)} | places


def grouped_holdout(
    labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a split in two, no group in both parts, with as many images of each class as `stratified_holdout` or as near
    below as its groups allow; where that is none, the smallest group that leaves the class another.

    Args:
      labels: (N,) int.
      groups: (N,) int, one number for images that stay together; None for each by itself.
      share: what part of the images to hold out, in [0, 1).
      seed: the same seed gives the same cut.

    Returns:
      (kept, held_out): the indices of each part, ascending int64.
    """
    kept, wanted = stratified_holdout(labels, share, seed)
    if groups is None or not len(wanted):
        return kept, wanted
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
    """Lists what keeping images together has cost: a line for each split that was held out and has fewer images of a
    class than its share.

    Args:
      config: by which the splits were cut.
      labels: of the set's own training images, (N,) int.
      groups: as for `cut_splits`.
      places: from `cut_splits`.
      classes: all names.
    """
    notes, left = [], np.arange(len(labels))
    for name, share in (("test", config.test_fraction), ("validation", config.val_fraction)):
        own, held_out = places[name]
        if own != "train" or len(np.unique(groups)) == len(groups):
            continue
        wanted = left[stratified_holdout(labels[left], share, config.split_seed)[1]]
        has, due = (np.bincount(labels[part], minlength=len(classes)) for part in (held_out, wanted))
        if (has < due).any():
            counts = zip(classes, has.tolist(), due.tolist(), strict=True)
            fewer = [f"{shown(label)} {got:,} of {wish:,}" for label, got, wish in counts if got < wish]
            notes.append(
                f"classes with fewer {name} images than their share, because an image and its copies stay in one "
                f"split: {listed(fewer)}"
            )
        left = np.setdiff1d(left, held_out)
    return notes


def why_empty(groups: np.ndarray | None) -> str:
    """What to add where no image is in a split, if copies are the reason."""
    if groups is None or (distinct := len(np.unique(groups))) == len(groups):
        return ""
    return (
        f": its {len(groups):,} images are {distinct:,} and copies of these, the same or nearly, which stay in one "
        "split.\nRemove the copies, or sort the images into train/CLASS and test/CLASS yourself"
    )
