"""The arguments of sliding windows, so that they mean the same in all poolings and convolutions."""

import math
import operator
from collections.abc import Sequence
from typing import Literal, NamedTuple, SupportsIndex

import jax
import jax.numpy as jnp

Ints = int | Sequence[int]
"""One number for every spatial axis, or one number an axis."""

Padding = int | Sequence[int | tuple[int, int]] | Literal["SAME", "VALID"]
"""What is added before and after each spatial axis: an int, a tuple of one int an axis, a tuple of one pair (before,
after) an axis, "VALID" (nothing) or "SAME" (so much that ceil(W / stride) windows fit; an odd entry goes after)."""


class Windows(NamedTuple):
    """Where the windows of a convolution or a pooling lie: one entry (of `padding`: one pair) a spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    output: tuple[int, ...]

    def taps(self, x: jax.Array, offset: Sequence[int]) -> jax.Array:
        """What tap `offset` of every window sees of the padded x (B, ..., C): (B, *output, C)."""
        first = [d * k for d, k in zip(self.dilation, offset, strict=True)]
        last = [f + (o - 1) * s + 1 for f, o, s in zip(first, self.output, self.stride, strict=True)]
        return jax.lax.slice(x, (0, *first, 0), (x.shape[0], *last, x.shape[-1]), (1, *self.stride, 1))


def per_axis(caller: str, name: str, value: Ints, n: int) -> tuple[int, ...]:
    """`value` as n positive ints: one number is meant for every axis."""
    numbers = (value,) * n if isinstance(value, SupportsIndex) else tuple(value)
    if len(numbers) != n or any(v < 1 for v in numbers):
        raise ValueError(f"{caller}: {name} must be a positive int or {n} of them, got {value}")
    return tuple(operator.index(v) for v in numbers)


def padding_pairs(
    caller: str,
    padding: Padding,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """`padding` as one pair (before, after) a spatial axis."""
    if isinstance(padding, str):
        if padding == "VALID":
            return ((0, 0),) * len(size)
        if padding == "SAME":
            return tuple(_same(*axis) for axis in zip(size, kernel, stride, dilation, strict=True))
        raise ValueError(f'{caller}: padding must be "SAME", "VALID", an int, ints or pairs, got "{padding}"')
    pairs = (padding,) * len(size) if isinstance(padding, SupportsIndex) else tuple(padding)
    if len(pairs) != len(size):
        raise ValueError(f"{caller}: padding {padding} has {len(pairs)} entries for {len(size)} spatial axes")
    pairs = tuple(_pair(p) for p in pairs)
    if min(min(p) for p in pairs) < 0:
        raise ValueError(f"{caller}: padding must not be negative, got {padding}")
    return pairs


def along_channels(v: jax.Array, ndim: int) -> jax.Array:
    """Gives a vector of one number a channel `ndim` axes, of which it is the last."""
    return jnp.reshape(v, (1,) * (ndim - 1) + (-1,))


def _pair(padding: int | tuple[int, int]) -> tuple[int, int]:
    before, after = (padding, padding) if isinstance(padding, SupportsIndex) else padding
    return operator.index(before), operator.index(after)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """The padding that gives ceil(size / stride) windows; an odd one goes after."""
    total = max((math.ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2
