"""Augmentation on the device: pure functions `(key, batch) -> batch`, each image's randomness its own.

What happens to an image depends on the key (one a step) and its index in the global batch, so the same images come out
however the batch is split over devices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.batch import Batch

Augment = Callable[[jax.Array, Batch], Batch]


def _by_image(key: jax.Array, batch: Batch, change: Callable[[jax.Array, jax.Array], jax.Array]) -> Batch:
    """Applies `change(key, image) -> image` to each image with a key of its own."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])
    return {**batch, "image": jax.vmap(change)(keys, batch["image"])}


def crop(padding: int) -> Augment:
    """Pads with `padding` pixels of zeros on every side and crops back at a random place.

    He et al. 2015, section 4.2 (padding 4 at 32x32).
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, channels = image.shape
        y, x = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        return jax.lax.dynamic_slice(padded, (y, x, jnp.zeros_like(y)), (height, width, channels))

    return lambda key, batch: _by_image(key, batch, change)


def flip() -> Augment:
    """Mirrors each image left and right with probability 1/2."""

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)

    return lambda key, batch: _by_image(key, batch, change)


def normalize(mean: np.ndarray, std: np.ndarray) -> Callable[[Batch], Batch]:
    """uint8 pixels to float32 with zero mean and unit variance: `(x / 255 - mean) / std`, by channel (C,)."""
    # One multiplication and one addition a pixel.
    scale, shift = np.float32(1 / 255) / std, -mean / std

    def apply(batch: Batch) -> Batch:
        image = batch["image"].astype(jnp.float32)
        return {**batch, "image": image * jnp.reshape(scale, (1, 1, 1, -1)) + jnp.reshape(shift, (1, 1, 1, -1))}

    return apply


def compose(*augments: Augment) -> Augment:
    """One after the other, each with a key of its own."""

    def apply(key: jax.Array, batch: Batch) -> Batch:
        for i, augment in enumerate(augments):
            batch = augment(jax.random.fold_in(key, i), batch)
        return batch

    return apply
