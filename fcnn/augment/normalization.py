"""Normalization: the last step of preprocessing, in training and in evaluation."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from fcnn.utils.batch import Batch


def normalize(mean: np.ndarray, std: np.ndarray) -> Callable[[Batch], Batch]:
    """Returns a function that maps pixels of 0 to 255 to `(x / 255 - mean) / std`, by channel (C,): float32."""
    # One multiplication and one addition a pixel.
    scale, shift = np.float32(1 / 255) / std, -mean / std

    def apply(batch: Batch) -> Batch:
        image = batch["image"].astype(jnp.float32)
        return {**batch, "image": image * jnp.reshape(scale, (1, 1, 1, -1)) + jnp.reshape(shift, (1, 1, 1, -1))}

    return apply
