"""What a data set is once it is loaded: arrays of images and labels by split, and how a split is cut in two."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnn.data.cache import remembered
from fcnn.data.manifest import Manifest
from fcnn.data.names import shown
from fcnn.data.parallel import each, no_progress
from fcnn.data.streamed import Streamed
from fcnn.utils.errors import UserError

MEASURED = 60_000
"""Mean and standard deviation are those of at most so many training images, evenly spread."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and labels of one split, in a fixed order."""

    images: np.ndarray
    """(N, H, W, C) uint8."""
    labels: np.ndarray
    """(N,) int32."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, (H, W, C)."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The images at `indices` (B,) int: (B, H, W, C) uint8."""
        return self.images[indices]

    def take(self, indices: np.ndarray | slice) -> "Split":
        """The images at `indices` (int, or a slice), in their order."""
        return Split(self.images[indices], self.labels[indices])


AnySplit = Split | Streamed


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set's three splits; `validation` is empty where none was held out."""

    name: str
    classes: tuple[str, ...]
    train: AnySplit
    validation: AnySplit
    test: AnySplit
    normalization: tuple[np.ndarray, np.ndarray] | None = None
    """Mean and standard deviation, each (C,) float32, where they are given and not measured."""
    class_weights: np.ndarray | None = None
    """(classes,) float32: what an example of each class counts in the loss; None for the same."""
    skipped: tuple[str, ...] = ()
    """Files that were left out because they can't be read: "path: reason"."""
    files: str = ""
    """What the files were before they were decoded, where there were any: "JPEG; 128 x 128 (4,317)"."""
    manifest: Manifest | None = None
    """Which files are in which split, where there are any."""
    value_range: tuple[float, float] | None = None
    """The gray values of more than 8 bits that became 0 and 255; None where there were none."""
    pixels: str = ""
    """A hash of all images, where they come from arrays of the caller's; else what they come from is checked."""
    notes: tuple[str, ...] = ()
    """What a person should know of this set, a line each: images in two splits, unlike numbers of images, ..."""

    def paths(self, split: str) -> list[str]:
        """Returns the files of a split below the folder, as they can be printed; "" for each where there are none."""
        if self.manifest is None:
            return [""] * len(getattr(self, split))
        return [shown(path) for path in self.manifest.paths(split)]

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation by channel, each (C,) float32, on a scale of 0 to 1: given, or measured on the
        training pixels."""
        return self.normalization or self._measured

    def normalized_by(self, mean: Sequence[float], std: Sequence[float]) -> "Dataset":
        """The same set with this mean and standard deviation by channel, of pixels from 0 to 1: another network's.

        A gray network's holds for each channel of color images.

        Raises:
          UserError: they are for another number of channels than the images have.
        """
        channels = self.train.shape[2]
        if channels != 1 and len(mean) not in (1, channels):
            raise UserError(f"the weights are for images of {len(mean)} channels, the images have {channels}")
        times = channels if len(mean) == 1 else 1
        normalization = np.asarray([*mean] * times, np.float32), np.asarray([*std] * times, np.float32)
        return dataclasses.replace(self, normalization=normalization)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of a normalized image, (H, W, C): a gray one has three channels if it is normalized by three's statistics."""
        height, width, channels = self.train.shape
        return height, width, channels if self.normalization is None else len(self.normalization[0])

    @functools.cached_property
    def _measured(self) -> tuple[np.ndarray, np.ndarray]:
        counts = self._pixel_counts()
        values, total = np.arange(256) / 255, counts[0].sum()
        mean = counts @ values / total
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
        return mean.astype(np.float32), np.maximum(np.sqrt(variance), 1e-6).astype(np.float32)

    def _pixel_counts(self) -> np.ndarray:
        """How often each value occurs in each channel of the training split, (C, 256) int64."""
        # Exact in integers, and no float copy of the whole set.
        count = min(len(self.train), MEASURED)
        places = np.arange(count) * len(self.train) // count

        def counts(indices: np.ndarray) -> np.ndarray:
            channels = np.moveaxis(self.train.read(indices), -1, 0)
            return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])

        def measure() -> list[list[int]]:
            blocks = np.array_split(places, -(-count // 256))
            return np.sum(each(counts, blocks, "measuring", no_progress), axis=0).tolist()

        if isinstance(self.train, Streamed) and self.train.files is not None:  # every file would be decoded again
            identity = [self.train.files.identity, self.train.places[places].tolist()]
            return np.asarray(remembered("statistics", identity, measure))
        return np.asarray(measure())

    @property
    def pipeline(self) -> str:
        """How its images reach the device: "device" (they live there) or "stream"."""
        return "stream" if isinstance(self.train, Streamed) else "device"

    def facts(self) -> dict[str, Any]:
        """What a run keeps of its data, as JSON can write it."""
        mean, std = self.mean_std()
        return {
            "name": self.name,
            "pipeline": self.pipeline,
            **self._identity(),
            "mean": [float(value) for value in mean],
            "std": [float(value) for value in std],
            "value_range": None if self.value_range is None else list(self.value_range),
            "skipped": list(self.skipped),
            "notes": list(self.notes),
        }

    def _identity(self) -> dict[str, Any]:
        """What must not change in a run's life."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "classes": list(self.classes),
            "image_shape": list(self.train.shape),
            "pixels": self.pixels,
            "images": {name: self.counts(split).tolist() for name, split in splits.items()},
            # Which image has which label: a split that is cut anew shows here, at equal counts too.
            "labels": {name: hashlib.sha256(split.labels.tobytes()).hexdigest()[:24] for name, split in splits.items()},
        }

    def as_in(self, facts: dict[str, Any], where: str) -> "Dataset":
        """This set, normalized as a run has it.

        Args:
          facts: what the run keeps of its data.
          where: the run, for messages.

        Raises:
          UserError: the classes or the images are no longer those of the run. (The images of a folder are compared file
            by file when they are loaded.)
        """
        by_file = self.manifest is not None
        for name, mine in self._identity().items():
            if facts.get(name, "") != mine and not (by_file and name in ("images", "labels")):
                raise UserError(f"{self.name} has changed since the run in {where} began: {name.replace('_', ' ')}")
        given = np.asarray(facts["mean"], np.float32), np.asarray(facts["std"], np.float32)
        return dataclasses.replace(self, normalization=given, notes=tuple(facts["notes"]))

    def counts(self, split: AnySplit) -> np.ndarray:
        """Images of each class, (classes,) int."""
        return np.bincount(split.labels, minlength=len(self.classes))


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Weights that make all classes count the same: images / (classes x images of the class), (classes,) float32."""
    return (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)


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
