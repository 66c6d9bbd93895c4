"""Augmentations that change a pixel's value and not its place, as light and camera do."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.augment.chain import Augment, by_image
from fcnn.utils.errors import UserError

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in gray: ITU-R BT.601, with torchvision's digits."""


def color_jitter(
    *, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
) -> Augment:
    """Changes brightness, contrast, saturation and hue of each image, in an order drawn for each: float32.

    The first three are blends with black, with the mean of the gray image and with the gray image (`blend`), by factors
    uniform in [max(0, 1 - strength), 1 + strength]; the hue's shift is uniform in [-hue, hue] turns (`shift_hue`). As
    torchvision's ColorJitter.

    Raises:
      UserError: saturation or hue for images of other than 3 channels, contrast for other than 1 or 3.
    """
    strengths = np.asarray([brightness, contrast, saturation], np.float32)

    def blends(image: jax.Array, order: jax.Array, factors: jax.Array, enabled: jax.Array) -> jax.Array:
        """Blends three times, in `order`; one that isn't `enabled` gets a factor of 1, which changes nothing."""
        for slot in range(3 if strengths.any() else 0):
            kind = order[slot]
            other = jnp.zeros_like(image[:1])
            if contrast or saturation:
                light = gray(image)
                other = jnp.where(kind == 1, light.mean(), jnp.where(kind == 2, light, other))
            image = blend(image, other, jnp.where(enabled[slot], factors[kind], 1.0))
        return image

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        check_channels(image.shape[-1], contrast=contrast, saturation=saturation, hue=hue)
        factor_key, hue_key, order_key, place_key = jax.random.split(key, 4)
        factors = jax.random.uniform(factor_key, (3,), minval=np.maximum(0, 1 - strengths), maxval=1 + strengths)
        order = jax.random.permutation(order_key, 3)
        planes = jnp.moveaxis(image.astype(jnp.float32), -1, 0)  # whole planes are what a CPU is fast with
        if hue:
            # What comes before the hue and what comes after it: a choice of the operation for each image would compute
            # all four of them for all images, four times.
            slot = jax.random.randint(place_key, (), 0, 4)
            planes = blends(planes, order, factors, jnp.arange(3) < slot)
            planes = shift_hue(planes, jax.random.uniform(hue_key, minval=-hue, maxval=hue))
            planes = blends(planes, order, factors, jnp.arange(3) >= slot)
        else:
            planes = blends(planes, order, factors, jnp.ones(3, bool))
        return jnp.moveaxis(planes, 0, -1)

    return by_image(change)


def blend(image: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    """Returns factor x + (1 - factor) other, clipped to 0 to 255: (C, H, W) and (1, H, W) float -> (C, H, W)."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 255)


def gray(image: jax.Array) -> jax.Array:
    """Returns 0.2989 R + 0.587 G + 0.114 B: (C, H, W) float, C = 1 or 3, -> (1, H, W)."""
    return image if len(image) == 1 else LUMA[0] * image[:1] + LUMA[1] * image[1:2] + LUMA[2] * image[2:]


def shift_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Turns the hue of HSV by a share of the circle, at the same saturation and value: (3, H, W) float -> the same.

    To HSV (Smith 1978, "Color gamut transform pairs") and back at once: with v the largest channel, c the largest less
    the smallest, and h the hue in sixths of the circle, channel n becomes v - c min(max(min(k, 4 - k), 0), 1) with
    k = (n + h) mod 6, where n is 5 for red, 3 for green and 1 for blue.
    """
    red, green, blue = image
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    scale = 1 / jnp.where(chroma == 0, 1, chroma)  # a gray has no hue: any will do
    hue = jnp.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale)
    hue = jnp.where(value == red, (green - blue) * scale, hue)

    def channel(n: int) -> jax.Array:
        k = n + hue + 6 * turns
        k = k - 6 * jnp.floor(k / 6)  # a third of the time that % takes
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)])


def check_channels(channels: int, **strengths: float) -> None:
    """UserError if an option of augment that is not 0 can't take images of this many channels."""
    for name, strength in strengths.items():
        allowed = (1, 3) if name in ("contrast", "auto_augment") else (3,)
        if strength and channels not in allowed:
            numbers = " or ".join(map(str, allowed))
            raise UserError(
                f"augment.{name.replace('_', '-')} needs images of {numbers} channels, these have {channels}"
            )


def noise(std: float) -> Augment:
    """Adds 255 std N(0, 1) to each value by itself and clips to 0 to 255: float32."""

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        # Two values from the halves of one word: random bits are the slow part, and 65,536 quantiles of the normal
        # distribution, out to 4.2 standard deviations, are more than enough for noise.
        words = jax.random.bits(key, (-(-image.size // 2),))
        halves = jnp.concatenate([words >> 16, words & 0xFFFF])[: image.size].reshape(image.shape)
        normal = math.sqrt(2) * jax.lax.erf_inv((halves.astype(jnp.float32) + 0.5) / 2**15 - 1)
        return jnp.clip(image.astype(jnp.float32) + 255 * std * normal, 0, 255)

    return by_image(change)
