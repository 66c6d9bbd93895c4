"""Convolution as one explains it on a blackboard, twice: slow, for one to three spatial axes."""

import itertools
import math

import jax
import jax.numpy as jnp

from fcnn.nn.geometry import Ints, Padding
from fcnn.nn.teaching.edges import PaddingMode, add_bias, pad
from fcnn.nn.teaching.geometry import conv_windows


def conv_sliding(
    x: jax.Array,
    w: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
) -> jax.Array:
    """Slides the kernel over the image: at one position after the other, multiplies and adds up.

        y[b, i, o] = bias[o] + sum_{k, c} xpad[b, S i + D k, c] w[k, c, o]

    with one index i and k a spatial axis, and c over the channels of output o's group. As everywhere in deep learning
    the kernel isn't flipped: a mathematician calls this cross-correlation.

    Args:
      x: (B, W, C), (B, H, W, C) or (B, D, H, W, C), channels last.
      w: (..., C / groups, O), spatial axes first, of x's type.
      bias: (O,) or None.
      stride, dilation: S and D, an int or one a spatial axis.
      padding: `fcnn.nn.geometry.Padding`.
      groups: the channels are cut into so many blocks, each convolved by itself; C of them are a depthwise convolution.
      padding_mode: what the padding holds: "zeros"; "reflect", the image mirrored about its first and last entry;
        "edge", those entries repeated; or "circular", the other end of the image.

    Returns:
      (B, ..., O) of x's type; each axis has `output_size(W, K, S, P, D)` entries.

    Raises:
      ValueError: if ranks or channels don't match, the window is larger than the padded input, or the padding is larger
        than what there is to reflect (W - 1) or to wrap around (W).

    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", section 2; PyTorch's `Conv2d`
    for the arguments.

    >>> x, w = jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.ones((3, 3, 1, 1))
    >>> conv_sliding(x, w).reshape(2, 2).tolist()
    [[45.0, 54.0], [81.0, 90.0]]
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    windows = conv_windows("conv_sliding", x.shape, w.shape, stride, padding, dilation, groups)
    x = pad("conv_sliding", x, windows.padding, padding_mode)
    batch, inputs = x.shape[0], x.shape[-1]
    w = w.reshape(-1, inputs // groups, groups, w.shape[-1] // groups)  # (taps, in a group, groups, out a group)
    span = [d * (k - 1) + 1 for d, k in zip(windows.dilation, windows.kernel, strict=True)]
    every = (slice(None), *(slice(None, None, d) for d in windows.dilation))

    def at(position: jax.Array) -> jax.Array:
        window = jax.lax.dynamic_slice(x, (0, *position, 0), (batch, *span, inputs))[every]
        return jnp.einsum("bkgc,kcgo->bgo", window.reshape(batch, -1, groups, inputs // groups), w)

    starts = (jnp.arange(o) * s for o, s in zip(windows.output, windows.stride, strict=True))
    positions = jnp.stack(jnp.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(windows.output))
    y = jax.lax.map(at, positions)  # (positions, B, groups, out a group)
    return add_bias("conv_sliding", jnp.moveaxis(y, 0, 1).reshape(batch, *windows.output, -1), bias)


def im2col(x: jax.Array, kernel: Ints, *, stride: Ints = 1, padding: Padding = 0, dilation: Ints = 1) -> jax.Array:
    """Writes what each window sees into one row of a matrix ("image to columns").

        columns[b, i, k, c] = xpad[b, S i + D k, c]

    An entry of x that n windows see is copied n times: that memory is the price for a convolution which is nothing but
    a matrix product.

    Args:
      x: (B, ..., C) with one to three spatial axes.
      kernel: the window's size, an int or one a spatial axis.
      stride, padding, dilation: as in `conv_sliding`; the padding is zeros.

    Returns:
      (B, *output, taps, C), the taps in row-major order.

    Raises:
      ValueError: if the window is larger than the padded input.

    Source: Chellapilla, Puri & Simard 2006, "High performance convolutional neural networks for document processing",
    section 3.

    >>> im2col(jnp.arange(4.0).reshape(1, 4, 1), 2)[0, :, :, 0].tolist()
    [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """
    x = jnp.asarray(x)
    kernel = (kernel,) * (x.ndim - 2) if isinstance(kernel, int) else tuple(kernel)
    windows = conv_windows("im2col", x.shape, (*kernel, x.shape[-1], 1), stride, padding, dilation, 1)
    x = pad("im2col", x, windows.padding, "zeros")
    offsets = itertools.product(*map(range, windows.kernel))
    return jnp.stack([windows.taps(x, offset) for offset in offsets], axis=-2)


def conv_im2col(
    x: jax.Array,
    w: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
) -> jax.Array:
    """The same as one matrix product a group (GEMM): the rows of `im2col` times the kernel laid out as a matrix.

        y = columns @ matrix,   columns: (B * positions, taps * C / groups),   matrix: (taps * C / groups, O / groups)

    Arguments, shapes and errors are those of `conv_sliding`. Source: Chellapilla, Puri & Simard 2006, "High performance
    convolutional neural networks for document processing", section 3.

    >>> x, w = jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.ones((3, 3, 1, 1))
    >>> conv_im2col(x, w).reshape(2, 2).tolist()
    [[45.0, 54.0], [81.0, 90.0]]
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    windows = conv_windows("conv_im2col", x.shape, w.shape, stride, padding, dilation, groups)
    x = pad("conv_im2col", x, windows.padding, padding_mode)
    columns = im2col(x, windows.kernel, stride=windows.stride, dilation=windows.dilation)
    rows, taps = x.shape[0] * math.prod(windows.output), math.prod(windows.kernel)
    columns = jnp.moveaxis(columns.reshape(rows, taps, groups, -1), 2, 0).reshape(groups, rows, -1)
    matrix = jnp.moveaxis(w.reshape(taps * w.shape[-2], groups, -1), 1, 0)
    y = jnp.moveaxis(columns @ matrix, 0, 1)  # (rows, groups, out a group)
    return add_bias("conv_im2col", y.reshape(x.shape[0], *windows.output, -1), bias)
