"""The operations that augmentation policies choose from, on whole levels of 0 to 255, as torchvision computes them.

Which operation an image gets is a number that is known only on the device. So there is one function for all of them:
a gather that moves pixels, then a blend with another image or a change of each value; what an operation doesn't need is
computed and not used.
"""

import jax
import jax.numpy as jnp

from fcnn.augment.color import check_channels, gray

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast"),
    *("sharpness", "posterize", "solarize", "auto_contrast", "equalize", "invert"),
)
"""Their names; an operation is known by its place here."""
NUMBER = {name: number for number, name in enumerate(OPERATIONS)}


def apply_operation(image: jax.Array, operation: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Applies one of OPERATIONS to an image.

    Args:
      image: (H, W, C) float32 of whole levels, C = 1 or 3.
      operation: its number.
      magnitude: shear: tangent of the angle; translate: pixels, of which the fraction is dropped; rotate: degrees,
        anticlockwise; brightness, color, contrast, sharpness: 0 is the image itself, -1 black, gray, its mean gray or
        a blurred image; posterize: bits; solarize: the level from which on values are inverted. The others have none.

    Returns:
      (H, W, C) float32 of whole levels; black where the image was moved away.

    Raises:
      UserError: the image has neither 1 nor 3 channels.
    """
    check_channels(image.shape[-1], auto_augment=1.0)
    return _change_values(_move(image, operation, magnitude), operation, magnitude)


def _move(image: jax.Array, operation: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Shear about the upper left corner, translation, or rotation about the center, by the nearest pixel."""
    height, width, channels = image.shape

    def chosen(name: str, value: jax.Array) -> jax.Array:
        return jnp.where(operation == NUMBER[name], value, 0.0)

    angle = jnp.deg2rad(chosen("rotate", magnitude))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    shear_x, shear_y = chosen("shear_x", magnitude), chosen("shear_y", magnitude)
    left = chosen("translate_x", jnp.trunc(magnitude)) - shear_x * height / 2
    top = chosen("translate_y", jnp.trunc(magnitude)) - shear_y * width / 2
    down = jnp.broadcast_to(jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2, (height, width))
    right = jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32)[None] - (width - 1) / 2, (height, width))
    # Where a pixel comes from, in pixels, 0 in the middle of the first one.
    x = jnp.round(right * cos - down * sin + shear_x * down - left + (width - 1) / 2)
    y = jnp.round(right * sin + down * cos + shear_y * right - top + (height - 1) / 2)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
    moved = image.reshape(-1, channels).at[place.astype(jnp.int32)].get(mode="promise_in_bounds")
    return jnp.where(inside[..., None], moved, 0.0)


def _change_values(image: jax.Array, operation: jax.Array, magnitude: jax.Array) -> jax.Array:
    names = ("brightness", "color", "contrast", "sharpness", "posterize", "solarize", "auto_contrast", "equalize")
    light = jnp.floor(jnp.moveaxis(gray(jnp.moveaxis(image, -1, 0)), 0, -1))
    step = 2.0 ** (8 - jnp.floor(magnitude))
    changed = [
        _blend(image, jnp.zeros_like(image), magnitude),
        _blend(image, light, magnitude),
        _blend(image, light.mean(), magnitude),
        _blend(image, _blurred(image), magnitude),
        jnp.floor(image / step) * step,
        jnp.where(image >= magnitude, 255 - image, image),
        _auto_contrast(image),
        _equalize(image),
        255 - image,
    ]
    return jnp.select([operation == NUMBER[name] for name in (*names, "invert")], changed, image)


def _blend(image: jax.Array, other: jax.Array, magnitude: jax.Array) -> jax.Array:
    return jnp.floor(jnp.clip((1 + magnitude) * image - magnitude * other, 0, 255))


def _blurred(image: jax.Array) -> jax.Array:
    """Each pixel with its neighbors, weighted 5 to 1; the outermost pixels stay."""
    height, width, _ = image.shape
    if min(height, width) < 3:
        return image
    rows = image[:-2] + image[1:-1] + image[2:]
    around = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return image.at[1:-1, 1:-1].set(jnp.round((around + 4 * image[1:-1, 1:-1]) / 13))


def _auto_contrast(image: jax.Array) -> jax.Array:
    """Stretches each channel from black to white; one of a single level stays."""
    low, high = image.min((0, 1), keepdims=True), image.max((0, 1), keepdims=True)
    stretched = (image - low) * (255 / jnp.maximum(high - low, 1))
    return jnp.where(high > low, jnp.floor(jnp.clip(stretched, 0, 255)), image)


def _equalize(image: jax.Array) -> jax.Array:
    """Replaces each channel's levels so that all are about as frequent, as Pillow does."""

    def channel(levels: jax.Array) -> jax.Array:
        counts = jnp.zeros(256, jnp.int32).at[levels.ravel()].add(1)
        step = (levels.size - counts[levels.max()]) // 255
        below = jnp.cumsum(counts) - counts
        table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, table[levels], levels)

    return jax.vmap(channel, -1, -1)(image.astype(jnp.int32)).astype(jnp.float32)
