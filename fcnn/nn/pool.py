"""Pooling: makes images smaller by keeping one number a window, its maximum or its mean; with PyTorch's rules."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from fcnn.nn.geometry import Ints, Padding, Windows, padding_pairs, per_axis
from fcnn.nn.onednn.max_pool import max_pool_jvp
from fcnn.nn.onednn.primitive import jvp, make_primitive
from fcnn.nn.pool_by_lax import avg_pool_by_lax, max_pool_by_lax


def max_pool(
    x: jax.Array, window: Ints, *, stride: Ints | None = None, padding: Padding = 0, ceil_mode: bool = False
) -> jax.Array:
    """The largest entry of each window, channel by channel.

        y[b, i, c] = max_k xpad[b, S i + k, c],   xpad = x between entries of -infinity

    Ties: the gradient goes to the first of the largest entries in row-major order, as PyTorch's, wherever the windows
    lie; it isn't shared. A NaN in a window gives NaN, but not where oneDNN computes it, which passes over NaN: on one
    CPU, in training (`fcnn.nn.onednn.max_pool`) and in networks that are compiled with their weights.

    Args:
      x: (B, W, C), (B, H, W, C) or (B, D, H, W, C) of any real type.
      window: K, an int or one a spatial axis.
      stride: S; the window if None, so that windows don't overlap.
      padding: see `fcnn.nn.geometry.Padding`; at most half the window, so that no window sees padding only.
      ceil_mode: adds the window that no longer fits wholly, if it starts inside the input or the padding before it.
        The number of windows is then ceil((W + 2P - K) / S) + 1 (less that rule) instead of floor(...) + 1.

    Returns:
      (B, ..., C) of x's type.

    Raises:
      ValueError: if the rank is wrong, the padding more than half the window or the window larger than the padded
        input.

    Source: PyTorch's `MaxPool2d`; Krizhevsky, Sutskever & Hinton 2012, section 3.4, for windows that overlap.

    XLA takes the maximum of strided slices and not by its reduce-window, whose gradient is slow. Against that,
    forward and backward together were 9 to 25 times as fast for window 2 (on three sizes), 7 to 9 times for window 3
    with stride 2, and 4 to 5 times for window 4. A reshape and a maximum over two axes, which shares the gradient
    evenly among ties, takes 2.4 to 5.6 times as long for window 2. (Float32, medians of the ratios of 15 interleaved
    runs, on two occasions, on 2 shared cores of a CPU with jax 0.10.2. Other devices weren't measured.)

    >>> x = jnp.array([[1.0, 3.0, 2.0, 0.0], [5.0, 4.0, 8.0, 8.0]]).reshape(1, 2, 4, 1)
    >>> max_pool(x, 2).ravel().tolist()
    [5.0, 8.0]
    >>> jax.grad(lambda x: max_pool(x, 2).sum())(x).reshape(2, 4).tolist()
    [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]
    """
    x = jnp.asarray(x)
    windows = pool_windows("max_pool", x.shape, window, stride, padding, ceil_mode)
    return max_pool_p.bind(x, windows=windows)


def avg_pool(
    x: jax.Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of each window, channel by channel.

        y[b, i, c] = sum_k xpad[b, S i + k, c] / n_i,   xpad = x between zeros

    n_i counts the window's entries: all that lie in the padded input, or in the input only if not `count_include_pad`.
    What a window of `ceil_mode` has beyond the padding is never counted. So n_i is the window's size but for the
    windows at the border that `count_include_pad=False` or `ceil_mode=True` make smaller.

    Args:
      x: (B, W, C), (B, H, W, C) or (B, D, H, W, C) of a floating type; float16 and bfloat16 are added up in float32.
      window, stride, padding, ceil_mode: as in `max_pool`.
      count_include_pad: whether the zeros of the padding count as entries.

    Returns:
      (B, ..., C) of x's type.

    Raises:
      ValueError: if x isn't floating, the rank is wrong, the padding more than half the window or the window larger
        than the padded input.

    Source: PyTorch's `AvgPool2d`; LeCun et al. 1998, "Gradient-based learning applied to document recognition", section
    II.B (subsampling).

    >>> x = jnp.array([3.0, 6.0, 9.0]).reshape(1, 3, 1)
    >>> avg_pool(x, 3, stride=1, padding=1).ravel().tolist()
    [3.0, 6.0, 5.0]
    >>> avg_pool(x, 3, stride=1, padding=1, count_include_pad=False).ravel().tolist()
    [4.5, 6.0, 7.5]
    """
    x, dtype = _floating("avg_pool", x)
    windows = pool_windows("avg_pool", x.shape, window, stride, padding, ceil_mode)
    return avg_pool_p.bind(x, windows=windows, count_include_pad=count_include_pad).astype(dtype)


def global_avg_pool(x: jax.Array) -> jax.Array:
    """The mean over all positions, which leaves one number a channel: what stands before most heads.

        y[b, c] = mean_i x[b, i, c]

    Args:
      x: (B, ..., C) of a floating type with one to three spatial axes.

    Returns:
      (B, C) of x's type.

    Raises:
      ValueError: if x isn't floating or has another rank.

    Source: Lin, Chen & Yan 2013, "Network in network", section 3.2.

    >>> global_avg_pool(jnp.arange(8.0).reshape(1, 2, 2, 2)).tolist()
    [[3.0, 4.0]]
    """
    x, dtype = _floating("global_avg_pool", x)
    return jnp.mean(x, axis=range(1, x.ndim - 1)).astype(dtype)


def adaptive_avg_pool(x: jax.Array, output_size: Ints) -> jax.Array:
    """The mean of each of O nearly equal bins an axis, so that the output's size doesn't depend on the input's.

        y[b, i, c] = mean of x[b, floor(i W / O) : ceil((i + 1) W / O), c]

    Neighboring bins overlap by an entry where O doesn't divide W, and repeat entries where O > W.

    Args:
      x: (B, ..., C) of a floating type with one to three spatial axes.
      output_size: O, an int or one a spatial axis. 1 gives the mean over all positions.

    Returns:
      (B, *output_size, C) of x's type.

    Raises:
      ValueError: if x isn't floating, has another rank, or `output_size` isn't positive.

    Source: PyTorch's `AdaptiveAvgPool2d`.

    >>> adaptive_avg_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
    [1.0, 3.0]
    """
    x, dtype = _floating("adaptive_avg_pool", x)
    sizes = per_axis("adaptive_avg_pool", "output_size", output_size, x.ndim - 2)
    for axis, (size, out) in enumerate(zip(x.shape[1:-1], sizes, strict=True), start=1):
        if size == out:
            continue
        bins = [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]
        means = [jnp.mean(jax.lax.slice_in_dim(x, a, b, axis=axis), axis=axis) for a, b in bins]
        x = jnp.stack(means, axis=axis)
    return x.astype(dtype)


def pool_windows(
    caller: str, x: tuple[int, ...], window: Ints, stride: Ints | None, padding: Padding, ceil_mode: bool
) -> Windows:
    """Checks the arguments of a pooling and lays out its windows."""
    n = len(x) - 2
    if not 1 <= n <= 3:
        raise ValueError(f"{caller}: x must be (B, 1 to 3 spatial axes, C), got {x}")
    kernel = per_axis(caller, "window", window, n)
    strides = kernel if stride is None else per_axis(caller, "stride", stride, n)
    pairs = padding_pairs(caller, padding, x[1:-1], kernel, strides, (1,) * n)
    output = []
    for size, k, s, (before, after) in zip(x[1:-1], kernel, strides, pairs, strict=True):
        if max(before, after) > k // 2:
            raise ValueError(f"{caller}: padding {pairs} is more than half the window {kernel}")
        room = size + before + after - k
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= size + before:  # it would start in the padding after the input, or beyond
            count -= 1
        if count < 1 or size < 1:
            raise ValueError(f"{caller}: the window {kernel} is larger than x {x} with padding {pairs}")
        output.append(count)
    return Windows(kernel, strides, (1,) * n, pairs, tuple(output))


def _floating(caller: str, x: jax.Array) -> tuple[jax.Array, jnp.dtype]:
    """x in the type to add it up in, at least float32, and its own type."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating) or not 3 <= x.ndim <= 5:
        raise ValueError(f"{caller}: x must be floating (B, 1 to 3 spatial axes, C), got {x.dtype} {x.shape}")
    return (x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x), x.dtype


def _abstract(x: Any, *, windows: Windows, **_: Any) -> Any:
    return x.update(shape=(x.shape[0], *windows.output, x.shape[-1]))


# Primitives, so that who walks a program, as an export to another format does, sees a pooling and not its slices.
max_pool_p = make_primitive("max_pool", max_pool_by_lax, ("windows",))
avg_pool_p = make_primitive("avg_pool", avg_pool_by_lax, ("windows", "count_include_pad"))
for _primitive in (max_pool_p, avg_pool_p):
    _primitive.def_abstract_eval(_abstract)
ad.primitive_jvps[max_pool_p] = max_pool_jvp
ad.primitive_jvps[avg_pool_p] = functools.partial(jvp, avg_pool_by_lax)
