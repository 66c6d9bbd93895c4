"""The convolution of every model: XLA's, but on a CPU oneDNN's, which trains these networks twice as fast."""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType

from fcnn.nn.onednn.convolution import convolve
from fcnn.nn.onednn.convolution_plan import Geometry

_NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def conv_general_dilated(
    x: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """`lax.conv_general_dilated`, for Linen's hook `nn.Conv(conv_general_dilated=...)`; same arguments and results.

    What a program is lowered for decides: one CPU gets oneDNN's convolution where there is an implementation for the
    shape; a GPU, a TPU, several CPU devices under one jit, and `jax.export` get XLA's. So does, from the start, what
    isn't the convolution of float32 images (B, H, W, C) with a kernel (KH, KW, C / groups, O) without input dilation.
    See `fcnn.nn.onednn`.

    >>> import flax.linen as nn
    >>> layer = nn.Conv(8, (3, 3), padding=1, conv_general_dilated=conv_general_dilated)
    >>> y, _ = layer.init_with_output(jax.random.key(0), jax.numpy.ones((5, 2, 2, 4)))
    >>> y.shape
    (5, 2, 2, 8)
    """
    geometry = conv_geometry(x, kernel, window_strides, padding, **options)
    if geometry is None:
        return lax.conv_general_dilated(x, kernel, window_strides, padding, **options)
    precision = options.get("precision") or default_precision()
    return convolve(x, kernel, want="y", geometry=geometry, precision=precision)


def default_precision() -> Any:
    """What `jax.default_matmul_precision` was set to."""
    config: Any = jax.config  # whose attributes pyright does not know
    return config.jax_default_matmul_precision


def conv_geometry(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Geometry | None:
    """The convolution, if it is of the kind that oneDNN is used for."""
    plain = all(is_plain(array) for array in (x, kernel))
    if not plain or batch_group_count != 1 or set(lhs_dilation or ()) - {1}:
        return None
    if out_sharding is not None or preferred_element_type not in (None, x.dtype):
        return None
    if lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers) != _NHWC:
        return None
    dilation = tuple(rhs_dilation or (1, 1))
    window = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    pairs = [(int(before), int(after)) for before, after in padding]
    sizes = [
        (size + sum(pair) - span) // stride + 1
        for size, pair, span, stride in zip(x.shape[1:3], pairs, window, strides, strict=True)
    ]
    y = (x.shape[0], *sizes, kernel.shape[-1])
    if min(map(min, pairs)) < 0 or min(*x.shape, *kernel.shape, *y) < 1:
        return None
    if x.shape[-1] != kernel.shape[2] * feature_group_count or kernel.shape[-1] % feature_group_count:
        return None  # lax says what is wrong
    return Geometry(
        x=x.shape,
        w=kernel.shape,
        y=y,
        strides=tuple(map(int, strides)),
        padding=tuple(pairs),
        dilation=tuple(map(int, dilation)),
        groups=feature_group_count,
    )


def is_plain(array: jax.Array) -> bool:
    """Whether it's four axes of float32, of known sizes, and how it's sharded isn't part of its type."""
    kind: Any = jax.typeof(array)
    known = len(kind.shape) == 4 and all(isinstance(size, int) for size in kind.shape)
    explicit = AxisType.Explicit in kind.sharding.mesh.axis_types
    varying = getattr(getattr(kind, "manual_axis_type", None), "varying", ())  # in a shard_map that checks
    return known and kind.dtype == "float32" and not explicit and not varying
