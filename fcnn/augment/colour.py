"""What changes a pixel's value and not its place: light and camera differ, and what is in front of them doesn't."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.augment.chain import Augment, by_image
from fcnn.batch import Batch
from fcnn.errors import UserError

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, with torchvision's digits."""


def colour_jitter(
    *, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
) -> Augment:
    """Changes brightness, contrast, saturation and hue of each image, in an order drawn for each: float32.

    Factors are uniform in [max(0, 1 - b), 1 + b] for a strength b of one of the first three, the hue's shift in
    [-hue, hue] turns. As torchvision's ColorJitter.

    Raises:
      UserError: saturation or hue for images of other than 3 channels, contrast for other than 1 or 3.
    """
    factors = {adjust_brightness: brightness, adjust_contrast: contrast, adjust_saturation: saturation}
    draws = [(adjust, max(0.0, 1 - strength), 1 + strength) for adjust, strength in factors.items() if strength] + [
        (adjust_hue, -hue, hue)
    ] * bool(hue)

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        order_key, *keys = jax.random.split(key, 1 + len(draws))
        amounts = [
            jax.random.uniform(k, minval=low, maxval=high) for k, (_, low, high) in zip(keys, draws, strict=True)
        ]
        branches = [
            lambda x, f=f, amount=amount: f(x, amount) for (f, _, _), amount in zip(draws, amounts, strict=True)
        ]
        image = image.astype(jnp.float32)
        for which in jax.random.permutation(order_key, len(draws)):
            image = jax.lax.switch(which, branches, image)
        return image

    return by_image(change)


def adjust_brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """factor x, cut off at 255: (H, W, C) float -> the same."""
    return jnp.clip(factor * image, 0, 255)


def adjust_contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """factor x + (1 - factor) mean(grey(x)), cut off at 0 and 255: (H, W, C) float -> the same."""
    return jnp.clip(factor * image + (1 - factor) * grey(image).mean(), 0, 255)


def adjust_saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """factor x + (1 - factor) grey(x), cut off at 0 and 255: (H, W, 3) float -> the same."""
    _want_channels("saturation", image, 3)
    return jnp.clip(factor * image + (1 - factor) * grey(image), 0, 255)


def adjust_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Turns the hue of HSV by a share of the circle, at the same saturation and value: (H, W, 3) float -> the same.

    There and back in closed form (Smith 1978, "Color gamut transform pairs"): with v the largest channel, c the largest
    less the smallest, and h the hue in sixths, channel n is v - c max(0, min(k, 4 - k, 1)), k = (n + h) mod 6, where n
    is 5 for red, 3 for green and 1 for blue.
    """
    _want_channels("hue", image, 3)
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    apart = jnp.where(chroma == 0, 1, chroma)  # a grey has no hue: any will do
    hue = jnp.where(
        value == red,
        (green - blue) / apart,
        jnp.where(value == green, 2 + (blue - red) / apart, 4 + (red - green) / apart),
    )

    def channel(n: int) -> jax.Array:
        k = (n + hue + 6 * turns) % 6
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.clip(jnp.stack([channel(5), channel(3), channel(1)], axis=-1), 0, 255)


def grey(image: jax.Array) -> jax.Array:
    """0.2989 R + 0.587 G + 0.114 B: (H, W, C) float, C = 1 or 3, -> (H, W, 1)."""
    if image.shape[-1] == 1:
        return image
    _want_channels("contrast", image, 3)
    return (image * jnp.asarray(LUMA).reshape(1, 1, 3)).sum(axis=-1, keepdims=True)


def _want_channels(what: str, image: jax.Array, channels: int) -> None:
    if image.shape[-1] != channels:
        raise UserError(f"augment.{what} needs images with {channels} channels, these have {image.shape[-1]}")


def noise(std: float) -> Augment:
    """Adds 255 std N(0, 1) to each value by itself and cuts off at 0 and 255: float32."""

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.clip(image.astype(jnp.float32) + 255 * std * jax.random.normal(key, image.shape), 0, 255)

    return by_image(change)


def normalize(mean: np.ndarray, std: np.ndarray) -> Callable[[Batch], Batch]:
    """Pixels of 0 to 255 to float32 with zero mean and unit variance: `(x / 255 - mean) / std`, by channel (C,)."""
    # One multiplication and one addition a pixel.
    scale, shift = np.float32(1 / 255) / std, -mean / std

    def apply(batch: Batch) -> Batch:
        image = batch["image"].astype(jnp.float32)
        return {**batch, "image": image * jnp.reshape(scale, (1, 1, 1, -1)) + jnp.reshape(shift, (1, 1, 1, -1))}

    return apply
