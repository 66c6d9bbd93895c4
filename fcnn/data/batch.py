"""Batches as indices: the order of an epoch, the padding of the last evaluation batch, the gather on the device."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.utils.batch import Batch


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """Returns the order of an epoch: a permutation of `size`, (size,) int32, from (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(size).astype(np.int32)


def eval_batches(size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields indices and mask, each (batch_size,): each image once; the last batch is padded and masked."""
    for start in range(0, size, batch_size):
        places = np.arange(start, start + batch_size, dtype=np.int32)
        yield np.minimum(places, size - 1), places < size


def evenly_spaced(size: int, max_count: int) -> np.ndarray:
    """Returns at most `max_count` indices into a split of `size` images, evenly spread over it, (count,) int."""
    count = min(size, max_count)
    return np.arange(count) * size // max(count, 1)


def gather(images: jax.Array, labels: jax.Array, indices: jax.Array, mask: jax.Array) -> Batch:
    """Returns a batch of a split that lives on the device.

    Args:
      images: (N, H, W, C) uint8, the whole split.
      labels: (N,) int32.
      indices: (B,) int32 into the split.
      mask: (B,) bool, False on padding.
    """
    index = jnp.arange(indices.shape[0], dtype=jnp.int32)
    return {"image": images[indices], "label": labels[indices], "mask": mask, "index": index}
