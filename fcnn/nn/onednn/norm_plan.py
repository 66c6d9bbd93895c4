"""Batch norm by oneDNN, with or without a ReLU behind it: one pass over the images forward, two backward."""

import functools
import math
from collections.abc import Sequence
from ctypes import c_float, c_void_p

from fcnn.nn.onednn.library import Failed, load
from fcnn.nn.onednn.plan import SCRATCHPAD, ExecutionPlan, array, attributes, describe, images, query, scratchpad

# Values of oneDNN's enumerations (dnnl_types.h).
_FORWARD, _BACKWARD = 64, 128
_GIVEN_STATISTICS, _SCALE, _SHIFT, _RELU = 1, 2, 4, 8
_QUERY_WORKSPACE = 135
_SRC, _DST, _MEAN, _VARIANCE, _SCALES, _SHIFTS, _MASK = 1, 17, 49, 50, 51, 52, 64
_DIFF_SRC, _DIFF_DST, _DIFF_SCALES, _DIFF_SHIFTS = 129, 145, 255, 256


@functools.cache
def norm_plan(shape: tuple[int, ...], epsilon: float, relu: bool) -> ExecutionPlan:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, with statistics that are given.

    `run(x, mean, var, scale, bias, y, mask, workspace)`: x and y are (B, H, W, C), the four vectors (C,), and the mask
    says where y is above 0, a bit each, eight to a byte, the first in the lowest; it is left out without `relu`.

    Raises:
      Failed: oneDNN has only a slow implementation.
      Unavailable: there is no oneDNN here.
    """
    # Not oneDNN's own statistics: of 131,072 normal numbers its variance is off by 3e-5, XLA's by 1e-7.
    norm = _forward(shape, epsilon, relu, _GIVEN_STATISTICS)
    return _plan(norm, shape, [_SRC, _MEAN, _VARIANCE, _SCALES, _SHIFTS, _DST, *[_MASK] * relu])


@functools.cache
def norm_gradient_plan(shape: tuple[int, ...], epsilon: float, relu: bool) -> ExecutionPlan:
    """The gradients by x, scale and bias, through the batch's statistics; raises as `norm_plan` does.

    `run(dy, x, mean, var, scale, mask, dx, dscale, dbias, workspace)`; without `relu` there is no mask.
    """
    both, flags, hint = images(shape), _SCALE | _SHIFT | _RELU * relu, _forward(shape, epsilon, relu, 0)
    options = both, both, both, c_float(epsilon), flags, hint, attributes()
    gradient = describe("batch_normalization_backward", _BACKWARD, *options, code="bnorm_jit")
    numbers = [_DIFF_DST, _SRC, _MEAN, _VARIANCE, _SCALES, *[_MASK] * relu, _DIFF_SRC, _DIFF_SCALES, _DIFF_SHIFTS]
    return _plan(gradient, shape, numbers)


def _forward(shape: Sequence[int], epsilon: float, relu: bool, flags: int) -> c_void_p:
    """The primitive descriptor of the norm, if it's one of those that are compiled for the shape."""
    both, flags = images(shape), flags | _SCALE | _SHIFT | _RELU * relu
    options = both, both, c_float(epsilon), flags, attributes()
    return describe("batch_normalization_forward", _FORWARD, *options, code="bnorm_jit")


def _plan(primitive: c_void_p, shape: Sequence[int], numbers: Sequence[int]) -> ExecutionPlan:
    """One primitive, whose call has these arguments by oneDNN's numbers, and last the memory that it works in."""
    descriptors: dict[int, c_void_p] = dict.fromkeys((_SRC, _DST, _DIFF_SRC, _DIFF_DST), images(shape))
    room, room_bytes = scratchpad(primitive)
    descriptors[SCRATCHPAD], vector = room, array(shape[-1:], (1,))
    if _MASK in numbers:
        descriptors[_MASK] = query(primitive, _QUERY_WORKSPACE)
        mask_bytes = load().bytes_of(descriptors[_MASK])
        if shape[-1] % 8 or mask_bytes * 8 != math.prod(shape):
            raise Failed(f"oneDNN keeps a mask of {mask_bytes} bytes for {shape}")
    numbers = [*numbers, SCRATCHPAD]
    step = (load().create("primitive_create", primitive), [(number, at) for at, number in enumerate(numbers)])
    arrays = [(descriptors.get(number, vector), at, 0) for at, number in enumerate(numbers)]
    return ExecutionPlan(arrays, [step], room_bytes)
