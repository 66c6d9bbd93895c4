"""Pooling by XLA: its slices of the padded images, folded over the entries of each window."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.nn.geometry import Windows


def pad_for_max(x: jax.Array, windows: Windows) -> jax.Array:
    """x between entries that are smaller than any other."""
    return _pad(x, windows, -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min)


def _pad(x: jax.Array, windows: Windows, value: float) -> jax.Array:
    """x between `value`s, so many that every window, also one of ceil_mode, lies wholly inside."""
    pairs = []
    for size, k, s, (before, _), o in zip(
        x.shape[1:-1], windows.kernel, windows.stride, windows.padding, windows.output, strict=True
    ):
        pairs.append((before, max((o - 1) * s + k - size - before, 0)))
    if not any(map(any, pairs)):
        return x
    return jnp.pad(x, ((0, 0), *pairs, (0, 0)), constant_values=value)


def _combine(x: jax.Array, windows: Windows, combine: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """Folds `combine` over the entries of every window of the padded x in row-major order.

    Small windows are gone through entry by entry, larger ones axis by axis: first each row, then the rows' results,
    which keeps the order and needs K + K slices instead of K * K.
    """
    n = len(windows.kernel)
    together = [range(n)] if math.prod(windows.kernel) <= 9 else [(axis,) for axis in reversed(range(n))]
    for axes in together:
        kernel, stride, output = [1] * n, [1] * n, list(x.shape[1:-1])
        for axis in axes:
            kernel[axis], stride[axis] = windows.kernel[axis], windows.stride[axis]
            output[axis] = windows.output[axis]
        part = Windows(tuple(kernel), tuple(stride), (1,) * n, ((0, 0),) * n, tuple(output))
        taps: list[Sequence[int]] = list(itertools.product(*map(range, kernel)))
        x = functools.reduce(combine, [part.taps(x, tap) for tap in taps])
    return x


def _first_max(y: jax.Array, tap: jax.Array) -> jax.Array:
    """The larger of two; the earlier one, and with it the gradient, if they are equal; NaN if one is (tap != tap)."""
    return jnp.where((tap > y) | (tap != tap), tap, y)


def max_pool_by_lax(x: jax.Array, *, windows: Windows) -> jax.Array:
    """The largest entry of each window, by XLA's slices."""
    return _combine(pad_for_max(x, windows), windows, _first_max)


def avg_pool_by_lax(x: jax.Array, *, windows: Windows, count_include_pad: bool) -> jax.Array:
    """The mean of each window, by XLA's slices."""
    n = window_sizes(x.shape, windows, count_include_pad)
    return _combine(_pad(x, windows, 0), windows, jnp.add) / jnp.asarray(n[None, ..., None], x.dtype)


def window_sizes(x: tuple[int, ...], windows: Windows, count_include_pad: bool) -> np.ndarray:
    """Counts the entries of each window of images of shape x: an array of the output's spatial shape.

    >>> window_sizes((1, 5, 1), Windows((2,), (2,), (1,), ((0, 1),), (3,)), False).tolist()
    [2, 2, 1]
    """
    axes = zip(x[1:-1], windows.kernel, windows.stride, windows.padding, windows.output, strict=True)
    return functools.reduce(np.multiply.outer, [_counts(*axis, count_include_pad) for axis in axes])


def _counts(size: int, k: int, s: int, pair: tuple[int, int], output: int, padded: bool) -> np.ndarray:
    """How many entries each window has along one axis, of the padded input or of the input itself."""
    low, high = (-pair[0], size + pair[1]) if padded else (0, size)
    start = np.arange(output) * s - pair[0]
    return np.minimum(start + k, high) - np.maximum(start, low)
