"""The type of an augmentation, and how several become one; each image's randomness is its own."""

from collections.abc import Callable

import jax

from fcnn.utils.batch import Batch

Augment = Callable[[jax.Array, Batch], Batch]
"""Pixels of a batch are on a scale of 0 to 255: uint8 as stored, float32 from the first change on that computes."""


def image_keys(key: jax.Array, batch: Batch) -> jax.Array:
    """Returns a key of its own for each image, (B,)."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])


def by_image(change: Callable[[jax.Array, jax.Array], jax.Array]) -> Augment:
    """Returns what applies `change(key, image) -> image`, (H, W, C), to each image with a key of its own."""
    return lambda key, batch: {**batch, "image": jax.vmap(change)(image_keys(key, batch), batch["image"])}


def compose(*augments: Augment) -> Augment:
    """Returns the augmentations one after the other, each with a key of its own."""

    def apply(key: jax.Array, batch: Batch) -> Batch:
        for i, augment in enumerate(augments):
            batch = augment(jax.random.fold_in(key, i), batch)
        return batch

    return apply
