"""Augmentations that move pixels: an object is the same wherever, however large and however turned it is.

What comes from outside an image is black. Where pixels are interpolated, bilinearly, the result is float32; where they
only move, the type stays.
"""

import math

import jax
import jax.numpy as jnp

from fcnn.augment.chain import Augment, by_image


def crop(padding: int) -> Augment:
    """Pads with `padding` pixels of zeros on every side and crops back at a random place: a shift.

    He et al. 2015, section 4.2 (padding 4 at 32x32).
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, channels = image.shape
        y, x = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        return jax.lax.dynamic_slice(padded, (y, x, jnp.zeros_like(y)), (height, width, channels))

    return by_image(change)


def flip(*, vertical: bool = False) -> Augment:
    """Mirrors each image left and right, or top and bottom, with probability 1/2."""
    axis = 0 if vertical else 1
    return by_image(lambda key, image: jnp.where(jax.random.bernoulli(key), jnp.flip(image, axis), image))


def resized_crop(min_area: float) -> Augment:
    """Crops a random box of the image and resizes it to the image's size: `box_at_full_size`.

    The box has a share of the area uniform in [min_area, 1] and a ratio of width to height log-uniform in [3/4, 4/3],
    at a uniform place inside the image: the first that fits of ten draws; where none does, the image stays whole.
    Szegedy et al. 2014 (GoogLeNet), section 6 (min_area 0.08), drawn as torchvision's RandomResizedCrop but for sizes
    and places that aren't rounded to pixels.
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        full_height, full_width, _ = image.shape
        area_key, ratio_key, place_key = jax.random.split(key, 3)
        area = full_height * full_width * jax.random.uniform(area_key, (10,), minval=min_area)
        ratio = jnp.exp(jax.random.uniform(ratio_key, (10,), minval=math.log(3 / 4), maxval=math.log(4 / 3)))
        heights, widths = jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)
        fits = (heights <= full_height) & (widths <= full_width)
        first = fits.argmax()
        height = jnp.where(fits[first], heights[first], full_height)
        width = jnp.where(fits[first], widths[first], full_width)
        y, x = jax.random.uniform(place_key, (2,))
        return box_at_full_size(image, y * (full_height - height), x * (full_width - width), height, width)

    return by_image(change)


def zoom(max_factor: float) -> Augment:
    """Resizes each image about its center by a factor log-uniform in [1 / max_factor, max_factor], within its frame.

    What is outside the frame is cut, what is outside the image is black.
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        full_height, full_width, _ = image.shape
        factor = max_factor ** jax.random.uniform(key, minval=-1.0)
        height, width = full_height / factor, full_width / factor
        return box_at_full_size(image, (full_height - height) / 2, (full_width - width) / 2, height, width)

    return by_image(change)


def rotate(degrees: float) -> Augment:
    """Rotates each image about its center by an angle uniform in [-degrees, degrees]: `rotated`."""
    return by_image(lambda key, image: rotated(image, jax.random.uniform(key, minval=-degrees, maxval=degrees)))


def box_at_full_size(
    image: jax.Array, top: jax.Array, left: jax.Array, height: jax.Array, width: jax.Array
) -> jax.Array:
    """Resizes a box of an image to the image's size: bilinear, and antialiased where it shrinks, as Pillow's `resize`.

    Args:
      image: (H, W, C), 0 to 255.
      top, left, height, width: of the box in pixels, not necessarily whole; it may be larger than the image.

    Returns:
      (H, W, C) float32.
    """
    full_height, full_width, _ = image.shape
    scale = jnp.stack([full_height / height, full_width / width])
    # Two small matrices of weights, one for the rows and one for the columns: no gather.
    resized = jax.image.scale_and_translate(
        image.astype(jnp.float32), image.shape, (0, 1), scale, -jnp.stack([top, left]) * scale, "linear", antialias=True
    )
    return jnp.clip(resized, 0, 255)  # the weights add up to 1 but for rounding


def rotated(image: jax.Array, degrees: jax.Array) -> jax.Array:
    """Returns an image rotated anticlockwise about its center, bilinear, as Pillow's `rotate`: (H, W, C) -> float32.

    The pixel at d from the center, (x, y) with y down, shows what was at (x cos a - y sin a, x sin a + y cos a).
    """
    height, width, channels = image.shape
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    down = jnp.broadcast_to(jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2, (height, width))
    right = jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32)[None] - (width - 1) / 2, (height, width))
    # In pixels, 0 in the middle of the first one. An image ends half a pixel further out.
    y, x = right * sin + down * cos + (height - 1) / 2, right * cos - down * sin + (width - 1) / 2
    inside = (y >= -0.5) & (y < height - 0.5) & (x >= -0.5) & (x < width - 0.5)
    top, left = jnp.floor(y), jnp.floor(x)
    rows = image.reshape(-1, channels)

    def at(y: jax.Array, x: jax.Array) -> jax.Array:
        """(H, W, C) float32, the nearest pixel of the image where there is none."""
        pixel = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
        return rows.at[pixel.astype(jnp.int32)].get(mode="promise_in_bounds").astype(jnp.float32)

    def mix(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
        return a + (b - a) * share[..., None]

    upper = mix(at(top, left), at(top, left + 1), x - left)
    lower = mix(at(top + 1, left), at(top + 1, left + 1), x - left)
    return jnp.where(inside[..., None], jnp.clip(mix(upper, lower, y - top), 0, 255), 0.0)
