"""What every way to convolve does before and after: the padding of its input, and the bias."""

from typing import Literal

import jax
import jax.numpy as jnp

from fcnn.nn.geometry import along_channels

PaddingMode = Literal["zeros", "reflect", "edge", "circular"]
_NUMPY_MODES = {"reflect": "reflect", "edge": "edge", "circular": "wrap"}


def pad(caller: str, x: jax.Array, pairs: tuple[tuple[int, int], ...], mode: PaddingMode) -> jax.Array:
    """Adds `pairs` (before, after) to the spatial axes of x (B, ..., C).

    >>> pad("example", jnp.arange(3.0).reshape(1, 3, 1), ((1, 2),), "reflect").ravel().tolist()
    [1.0, 0.0, 1.0, 2.0, 1.0, 0.0]
    """
    if mode == "zeros":
        return jnp.pad(x, ((0, 0), *pairs, (0, 0)))
    if mode not in _NUMPY_MODES:
        raise ValueError(f'{caller}: padding_mode must be zeros, reflect, edge or circular, got "{mode}"')
    for size, pair in zip(x.shape[1:-1], pairs, strict=True):
        if mode != "edge" and max(pair) > size - (mode == "reflect"):
            raise ValueError(f"{caller}: {mode} padding {pair} is more than x {x.shape} has along an axis of {size}")
    return jnp.pad(x, ((0, 0), *pairs, (0, 0)), mode=_NUMPY_MODES[mode])


def add_bias(caller: str, y: jax.Array, bias: jax.Array | None) -> jax.Array:
    """y (B, ..., O) plus one number a channel, if there is one."""
    if bias is None:
        return y
    if jnp.shape(bias) != y.shape[-1:]:
        raise ValueError(f"{caller}: bias must have shape {y.shape[-1:]}, got {jnp.shape(bias)}")
    return y + along_channels(bias, y.ndim)
