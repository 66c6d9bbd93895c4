"""A split too large for the device: its images are read, or decoded, batch by batch while the network trains."""

import contextlib
import dataclasses
import math
from pathlib import Path

import numpy as np

from fcnn.data.decode import BadImage, ValueRange, crop_file, open_image, resize_crop
from fcnn.data.parallel import one_item
from fcnn.distributed.device_memory import device_memory
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable

SHARE = 4
"""A set lives on the device if its images take at most 1 / SHARE of the memory."""
_LOG_RATIO = math.log(3 / 4), math.log(4 / 3)


@dataclasses.dataclass(frozen=True)
class Files:
    """N files as if they were an array (N, H, W, C) uint8: `files[indices]` decodes some of them."""

    root: Path
    paths: tuple[str, ...]
    """Below the root."""
    size: int
    """Pixels of a side."""
    channels: int
    identity: str
    """Changes when a pixel could."""
    value_range: ValueRange | None = None
    """The gray values of more than 8 bits that become 0 and 255."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self.paths), self.size, self.size, self.channels

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Returns the center squares of some files, (B, H, W, C) uint8, in the order of `indices` (B,) int."""
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for image, i in zip(images, indices, strict=True):
            image[:] = self.decode(int(i))
        return images

    def decode(self, i: int) -> np.ndarray:
        """Returns the center square of one, (H, W, C) uint8; UserError if it can't be read any more."""
        with self._readable(i) as path:
            return resize_crop(open_image(path, at_least=self.size, value_range=self.value_range), self.shape[1:])

    def crop(self, i: int, min_area: float, rng: np.random.Generator) -> np.ndarray:
        """Returns a `random_box` of the file's own pixels, resized, (H, W, C) uint8; UserError as `decode`."""
        with self._readable(i) as path:
            return crop_file(path, self.shape[1:], lambda w, h: random_box(w, h, min_area, rng), self.value_range)

    @contextlib.contextmanager
    def _readable(self, i: int):
        try:
            with one_item():
                yield self.root / self.paths[i]
        except BadImage as error:
            raise UserError(f"{printable(self.paths[i])} can no longer be read: {error}") from None


def random_box(width: int, height: int, min_area: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws a random resized crop of an image of width x height: (left, top, right, bottom) in whole pixels.

    The box has a share of the area uniform in [min_area, 1] and a ratio of width to height log-uniform in [3/4, 4/3],
    at a uniform place: the first that fits of ten draws. Where none does, it is the largest center box with a ratio in
    that range. Szegedy et al. 2014 (GoogLeNet), section 6, as torchvision's RandomResizedCrop draws it.
    """
    for _ in range(10):
        area = width * height * rng.uniform(min_area, 1)
        ratio = math.exp(rng.uniform(*_LOG_RATIO))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Labels in memory and images elsewhere; as `Split`, but `images` reads them all."""

    source: np.ndarray | Files
    """(M, H, W, C) uint8: rows of a file mapped into memory, or files that are still to be decoded."""
    labels: np.ndarray
    """(N,) int32."""
    places: np.ndarray
    """(N,) int: where each image is in the source."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, (H, W, C)."""
        _, height, width, channels = self.source.shape
        return height, width, channels

    @property
    def images(self) -> np.ndarray:
        """(N, H, W, C) uint8, read now: for small sets and tests."""
        return self.read(np.arange(len(self)))

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Returns the images at `indices` (B,) int: (B, H, W, C) uint8."""
        return self.source[self.places[indices]]

    def take(self, indices: np.ndarray | slice) -> "Streamed":
        """Returns the images at `indices` (int, or a slice), in their order; nothing is read."""
        return Streamed(self.source, self.labels[indices], self.places[indices])

    @property
    def files(self) -> Files | None:
        """The files, where there are any: a random crop can then be cut from an image's own pixels."""
        return self.source if isinstance(self.source, Files) else None

    def read_crops(self, indices: np.ndarray, min_area: float, *, seed: int, epoch: int) -> np.ndarray:
        """Returns random crops of the files at `indices`, (B, H, W, C) uint8, each from (seed, epoch, its index)."""
        assert self.files is not None
        images = np.empty((len(indices), *self.shape), np.uint8)
        for image, i in zip(images, indices, strict=True):
            rng = np.random.default_rng([seed, epoch, int(i), 1])  # 1: a sequence apart from the epoch's order
            image[:] = self.files.crop(int(self.places[i]), min_area, rng)
        return images


def streams(pipeline: str, size: int) -> bool:
    """Returns whether a set of `size` bytes, decoded, is streamed: as `data.pipeline` says, or as the memory does."""
    return pipeline == "stream" or (pipeline == "auto" and size > device_memory() // SHARE)
