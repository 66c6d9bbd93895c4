"""A split too large for the device: its images are read, or decoded, batch by batch while the network trains."""

import contextlib
import dataclasses
from pathlib import Path

import jax
import numpy as np
import psutil

from fcnn.data.files import Files

SHARE = 4
"""A set lives on the device if its images take at most 1 / SHARE of the memory."""


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Labels in memory and images elsewhere; like `Split`, but that `images` reads them all."""

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
        """The images at `indices` (B,) int: (B, H, W, C) uint8."""
        return self.source[self.places[indices]]

    def take(self, indices: np.ndarray | slice) -> "Streamed":
        """The images at `indices` (int, or a slice), in their order; nothing is read."""
        return Streamed(self.source, self.labels[indices], self.places[indices])

    @property
    def files(self) -> Files | None:
        """The files, where there are any: a random crop can then be cut from an image's own pixels."""
        return self.source if isinstance(self.source, Files) else None

    def read_crops(self, indices: np.ndarray, least: float, *, seed: int, epoch: int) -> np.ndarray:
        """Random crops of the files at `indices`, each drawn from (seed, epoch, its index): (B, H, W, C) uint8."""
        assert self.files is not None
        out = np.empty((len(indices), *self.shape), np.uint8)
        for image, i in zip(out, indices, strict=True):
            rng = np.random.default_rng([seed, epoch, int(i), 1])  # 1: a sequence apart from the epoch's order
            image[:] = self.files.crop(int(self.places[i]), least, rng)
        return out


def streams(pipeline: str, size: int) -> bool:
    """Whether a set is streamed: as `data.pipeline` says, or if it is too large to live on the device.

    Args:
      feed: "auto", "device" or "stream".
      size: bytes of all its images, decoded.
    """
    return pipeline == "stream" or (pipeline == "auto" and size > _memory() // SHARE)


def _memory() -> int:
    """Bytes of memory of a device, or of the host or the container if that is less: on the way, images are there."""
    sizes = [psutil.virtual_memory().total]
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    sizes.append((jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", sizes[0]))
    return min(sizes)
