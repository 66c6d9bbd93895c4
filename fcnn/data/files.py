"""Image files that are decoded when a batch asks for them, for folders that no memory holds."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from fcnn.data.decode import BadImage, ValueRange, cut_square, open_image, square
from fcnn.data.names import shown
from fcnn.utils.errors import UserError

_RATIO = math.log(3 / 4), math.log(4 / 3)


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
    """Of gray values of more than 8 bits: what becomes 0 and 255."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self.paths), self.size, self.size, self.channels

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """The middle squares of some, (B, H, W, C) uint8, in the order of `indices` (B,) int."""
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for image, i in zip(out, indices, strict=True):
            image[:] = self.decode(int(i))
        return out

    def decode(self, i: int) -> np.ndarray:
        """The middle square of one, (H, W, C) uint8: `square`.

        Raises:
          UserError: it can't be read, which it could when the folder was scanned.
        """
        try:
            image = open_image(self.root / self.paths[i], at_least=self.size, value_range=self.value_range)
            return square(image, self.size, self.channels)
        except BadImage as error:
            raise self._gone(i, error) from None

    def crop(self, i: int, least: float, rng: np.random.Generator) -> np.ndarray:
        """A random box of the file's own pixels at the set's size, (H, W, C) uint8: `random_box`.

        Raises:
          UserError: as for `decode`.
        """
        try:
            return cut_square(
                self.root / self.paths[i],
                self.size,
                self.channels,
                lambda w, h: random_box(w, h, least, rng),
                self.value_range,
            )
        except BadImage as error:
            raise self._gone(i, error) from None

    def _gone(self, i: int, error: BadImage) -> UserError:
        return UserError(f"{shown(self.paths[i])} could be read before and can't any more: {error}")


def random_box(width: int, height: int, least: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Where a random resized crop cuts an image of width x height: (left, top, right, bottom) in whole pixels.

    The box has a share of the area uniform in [least, 1] and a ratio of width to height log-uniform in [3/4, 4/3], at a
    uniform place: the first that fits of ten draws. Where none does, it is the largest in the middle with a ratio in
    that range. Szegedy et al. 2014 (GoogLeNet), section 6, as torchvision's RandomResizedCrop draws it.
    """
    for _ in range(10):
        area = width * height * rng.uniform(least, 1)
        ratio = math.exp(rng.uniform(*_RATIO))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
