"""What a data set is once it is loaded: arrays of images and labels by split, and how a split is cut in two."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and labels of one split, in a fixed order."""

    images: np.ndarray
    """(N, H, W, C) uint8."""
    labels: np.ndarray
    """(N,) int32."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices` (int), in their order."""
        return Split(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set's three splits; `validation` is empty where none was held out."""

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the training pixels by channel, each (C,) float32, on a scale of 0 to 1."""
        # Counted by pixel value: exact in integers, and no float copy of the whole set.
        channels = self.train.images.reshape(-1, self.train.images.shape[-1])
        counts = np.stack([np.bincount(channel, minlength=256) for channel in channels.T])
        values = np.arange(256) / 255
        mean = counts @ values / len(channels)
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / len(channels)
        return mean.astype(np.float32), np.maximum(np.sqrt(variance), 1e-6).astype(np.float32)


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
