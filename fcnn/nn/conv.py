"""Convolution, the operation that gives these networks their name: the fast one, for one to three spatial axes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.nn.edges import PaddingMode, add_bias, pad
from fcnn.nn.fast_conv import conv_general_dilated
from fcnn.nn.geometry import Ints, Padding, conv_windows, per_axis
from fcnn.nn.initializers import Initializer, he_normal, zeros


def conv(
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
    """Slides the kernel over the image; the rank says over how many axes.

        y[b, i, o] = bias[o] + sum_{k, c} xpad[b, S i + D k, c] w[k, c, o]

    with one index i and k a spatial axis, and c over the channels of output o's group. As everywhere in deep learning
    the kernel isn't flipped: a mathematician calls this cross-correlation.

    Args:
      x: (B, W, C), (B, H, W, C) or (B, D, H, W, C), channels last.
      w: (..., C / groups, O), spatial axes first, of x's type.
      bias: (O,) or None.
      stride, dilation: S and D, an int or one a spatial axis.
      padding: what is added before and after each spatial axis: an int, a tuple of one int an axis, a tuple of one pair
        (before, after) an axis, "VALID" (nothing) or "SAME" (so much that ceil(W / S) windows fit; an odd entry goes
        after, which at stride 2 isn't what PyTorch's networks do).
      groups: the channels are cut into so many blocks, each convolved by itself; C of them are a depthwise convolution.
      padding_mode: what the padding holds: "zeros"; "reflect", the image mirrored about its first and last entry;
        "edge", those entries repeated; or "circular", the other end of the image.

    Returns:
      (B, ..., O) of x's type; each axis has `output_size(W, K, S, P, D)` entries.

    Raises:
      ValueError: if ranks, channels or types don't match, the window is larger than the padded input, or the padding is
        larger than what there is to reflect (W - 1) or to wrap around (W).

    Source: LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition"; PyTorch's `Conv2d` for the
    arguments. On devices that multiply float32 at lower precision, `jax.default_matmul_precision("highest")` holds here
    as well.

    >>> x = jnp.arange(6.0).reshape(1, 6, 1)
    >>> w = jnp.array([-1.0, 0.0, 1.0]).reshape(3, 1, 1)
    >>> conv(x, w).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0]
    >>> conv(x, w, stride=2, padding=1, padding_mode="edge").ravel().tolist()
    [1.0, 2.0, 2.0]
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    windows = conv_windows("conv", x.shape, w.shape, stride, padding, dilation, groups)
    if x.dtype != w.dtype:
        raise ValueError(f"conv: x {x.shape} is {x.dtype} but w {w.shape} is {w.dtype}")
    pairs = windows.padding
    if padding_mode != "zeros":  # XLA pads with zeros only
        x, pairs = pad("conv", x, pairs, padding_mode), ((0, 0),) * len(pairs)
    axes = "DHW"[-len(pairs) :]
    y = conv_general_dilated(
        x,
        w,
        windows.stride,
        pairs,
        rhs_dilation=windows.dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )
    return add_bias("conv", y, bias)


def conv_1x1(x: jax.Array, w: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """A convolution with a kernel of one tap: the same matrix product at every position.

        y[b, i, o] = bias[o] + sum_c x[b, i, c] w[c, o]

    Args:
      x: (B, ..., C) with any number of spatial axes.
      w: (C, O), or a kernel (1, ..., 1, C, O).
      bias: (O,) or None.

    Returns:
      (B, ..., O).

    Raises:
      ValueError: if w has more than one tap or its channels aren't x's.

    Source: Lin, Chen & Yan 2013, "Network in network", section 3.1.

    >>> conv_1x1(jnp.ones((1, 2, 2, 3)), jnp.ones((1, 1, 3, 5))).shape
    (1, 2, 2, 5)
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    if w.ndim < 2 or x.ndim < 2 or set(w.shape[:-2]) - {1} or w.shape[-2] != x.shape[-1]:
        raise ValueError(f"conv_1x1: x (B, ..., C) and w (1, ..., 1, C, O) have shapes {x.shape} and {w.shape}")
    return add_bias("conv_1x1", jnp.einsum("...c,co->...o", x, w.reshape(w.shape[-2:])), bias)


class Conv(nn.Module):
    """`conv` as a layer with the parameters `kernel` (..., C / groups, features) and `bias` (features,).

    The names are those of `flax.linen.Conv`, so that checkpoints are interchangeable. Padding is 0 unless said
    otherwise, as in `conv` (Flax's is "SAME").

    Attributes:
      features: the number of output channels.
      kernel_size: one int a spatial axis, e.g. (3, 3).
      dtype: the type to compute in; x's, which must then be floating, if None. Parameters are kept in `param_dtype`.

    >>> layer = Conv(8, (3, 3), stride=2, padding=1, use_bias=False)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'kernel': (3, 3, 3, 8)}}
    >>> layer.apply(variables, jnp.ones((1, 32, 32, 3))).shape
    (1, 16, 16, 8)
    """

    features: int
    kernel_size: Ints
    stride: Ints = 1
    padding: Padding = 0
    dilation: Ints = 1
    groups: int = 1
    padding_mode: PaddingMode = "zeros"
    use_bias: bool = True
    kernel_init: Initializer = he_normal()
    bias_init: Initializer = zeros()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = self.dtype or x.dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"Conv: x {x.shape} is {x.dtype}; make it floating, or say in which dtype to compute")
        kernel_size = per_axis(f"Conv on x {x.shape}", "kernel_size", self.kernel_size, x.ndim - 2)
        if self.groups < 1 or x.shape[-1] % self.groups or self.features % self.groups:
            raise ValueError(f"Conv: {self.groups} groups divide neither x {x.shape} into {self.features} features")
        shape = (*kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        return conv(
            x.astype(dtype),
            kernel.astype(dtype),
            None if bias is None else bias.astype(dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
        )
