"""What a data set is once it is loaded: images and labels by split, its classes and its normalization."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnn.data.batch import evenly_spaced
from fcnn.data.cache import cached_json
from fcnn.data.manifest import Manifest
from fcnn.data.parallel import each, no_progress
from fcnn.data.streamed import Streamed
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable

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
        """Returns the images at `indices` (B,) int: (B, H, W, C) uint8."""
        return self.images[indices]

    def take(self, indices: np.ndarray | slice) -> "Split":
        """Returns the images at `indices` (int, or a slice), in their order."""
        return Split(self.images[indices], self.labels[indices])


AnySplit = Split | Streamed
"""Images in memory, or read batch by batch."""


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset:
    """A data set's three splits; `validation` is empty where none was held out."""

    name: str
    classes: tuple[str, ...]
    train: AnySplit
    validation: AnySplit
    test: AnySplit
    normalization: tuple[np.ndarray, np.ndarray] | None = None
    """Mean and standard deviation, each (C,) float32; None to measure them."""
    class_weights: np.ndarray | None = None
    """(classes,) float32: the weight of each class in the loss; None for equal weights."""
    skipped: tuple[str, ...] = ()
    """Files that were left out because they can't be read: "path: reason"."""
    files: str = ""
    """Formats and sizes of the files, where there are any: "JPEG; 128 x 128 (4,317)"."""
    manifest: Manifest | None = None
    """Which files are in which split, where there are any."""
    groups: np.ndarray | None = None
    """(N,) int of the training images: images that show the same, or nearly, have one number; None if nobody looked."""
    value_range: tuple[float, float] | None = None
    """The gray values of more than 8 bits that became 0 and 255; None where there were none."""
    pixels: str = ""
    """A hash of all images, where they come from arrays of the caller's; else what they come from is checked."""
    notes: tuple[str, ...] = ()
    """Warnings about this set, a line each: images in two splits, imbalance, ..."""

    def paths(self, split: str) -> list[str]:
        """Returns the files of a split below the folder, as they can be printed; "" for each where there are none."""
        if self.manifest is None:
            return [""] * len(getattr(self, split))
        return [printable(path) for path in self.manifest.paths(split)]

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation by channel, each (C,) float32, of pixels from 0 to 1."""
        return self.normalization or self._measured

    def normalized_by(self, mean: Sequence[float], std: Sequence[float]) -> "Dataset":
        """Returns the same set with another network's mean and standard deviation by channel, of pixels from 0 to 1.

        A gray network's are used for each channel of color images; UserError for any other number of channels.
        """
        channels = self.train.shape[2]
        if channels != 1 and len(mean) not in (1, channels):
            raise UserError(f"the weights are for images of {len(mean)} channels, the images have {channels}")
        repeats = channels if len(mean) == 1 else 1
        normalization = np.asarray([*mean] * repeats, np.float32), np.asarray([*std] * repeats, np.float32)
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
        """Returns how often each value occurs in each channel of the training split, (C, 256) int64: exact."""
        places = evenly_spaced(len(self.train), MEASURED)

        def counts(indices: np.ndarray) -> np.ndarray:
            channels = np.moveaxis(self.train.read(indices), -1, 0)
            return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])

        def measure() -> list[list[int]]:
            chunks = np.array_split(places, -(-len(places) // 256))
            return np.sum(each(counts, chunks, "measuring", no_progress), axis=0).tolist()

        if isinstance(self.train, Streamed) and self.train.files is not None:  # every file would be decoded again
            identity = [self.train.files.identity, self.train.places[places].tolist()]
            return np.asarray(cached_json("statistics", identity, measure))
        return np.asarray(measure())

    @property
    def pipeline(self) -> str:
        """How its images reach the device: "device" (they live there) or "stream"."""
        return "stream" if isinstance(self.train, Streamed) else "device"

    def facts(self) -> dict[str, Any]:
        """Returns what a run stores about its data, as JSON can write it."""
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
        """Returns what must not change while a run lasts."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "classes": list(self.classes),
            "image_shape": list(self.train.shape),
            "pixels": self.pixels,
            "images": {name: self.counts(split).tolist() for name, split in splits.items()},
            # Which image has which label: a split that is cut anew shows here, at equal counts too.
            "labels": {name: hashlib.sha256(split.labels.tobytes()).hexdigest()[:24] for name, split in splits.items()},
        }

    def __repr__(self) -> str:
        parts = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in ("train", "validation", "test"))
        shape = " x ".join(map(str, self.image_shape))
        return f"Dataset({self.name!r}, {len(self.classes)} classes, {parts} images of {shape})"

    def as_in(self, facts: dict[str, Any], workdir: str) -> "Dataset":
        """Returns this set, normalized as the run in `workdir` has it, by its `Dataset.facts`.

        Raises:
          UserError: the classes or the images are no longer those of the run. (The images of a folder are compared file
            by file when they are loaded.)
        """
        by_file = self.manifest is not None
        for name, value in self._identity().items():
            if facts.get(name, "") != value and not (by_file and name in ("images", "labels")):
                raise UserError(f"{self.name} has changed since the run in {workdir} began: {name.replace('_', ' ')}")
        normalization = np.asarray(facts["mean"], np.float32), np.asarray(facts["std"], np.float32)
        return dataclasses.replace(self, normalization=normalization, notes=tuple(facts["notes"]))

    def counts(self, split: AnySplit) -> np.ndarray:
        """Returns the number of images of each class, (classes,) int."""
        return np.bincount(split.labels, minlength=len(self.classes))


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Returns weights by which all classes count the same, images / (classes x images of the class): (classes,)."""
    return (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
