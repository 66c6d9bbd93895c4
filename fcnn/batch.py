"""What a step sees: the one type that data, augmentation and the steps hand to each other."""

from typing import TypedDict

import jax


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
