"""The batch: the one type that data, augmentation and the steps pass to each other."""

from typing import NotRequired, TypedDict

import jax
import jax.numpy as jnp
import numpy as np


class Batch(TypedDict):
    """B images with their labels: the whole batch under jit, where there is one program, else a device's share."""

    image: jax.Array
    """(B, H, W, C), uint8 as stored or float once normalized."""
    label: jax.Array
    """(B,) int32, or (B, classes) float where labels are mixed."""
    mask: jax.Array
    """(B,) bool; False on padding, which counts nowhere."""
    index: jax.Array
    """(B,) int32, each example's position in the global batch: what is random about it depends on this and the step."""
    step: NotRequired[jax.Array]
    """() int32, how many updates came before: set by the training step for augmentation alone."""


def make_batch(image: jax.Array | np.ndarray, label: jax.Array | np.ndarray) -> Batch:
    """Returns a batch in which every example counts, in order: images (B, H, W, C), labels (B,) or (B, classes)."""
    size = image.shape[0]
    return {
        "image": jnp.asarray(image),
        "label": jnp.asarray(label),
        "mask": jnp.ones(size, bool),
        "index": jnp.arange(size, dtype=jnp.int32),
    }
