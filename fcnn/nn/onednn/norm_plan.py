"""Batch norm by oneDNN, with or without a ReLU behind it: one pass over the images forward, two backward."""

import functools
from collections.abc import Sequence
from ctypes import c_void_p

from fcnn.nn.onednn.library import Failed, Library, load
from fcnn.nn.onednn.plan import SCRATCHPAD, Plan, array, attributes, images, implementation, query, scratchpad

# Values of oneDNN's enumerations (dnnl_types.h).
_FORWARD, _BACKWARD = 64, 128
_GIVEN_STATISTICS, _SCALE, _SHIFT, _RELU = 1, 2, 4, 8
_QUERY_WORKSPACE = 135
_SRC, _DST, _MEAN, _VARIANCE, _SCALES, _SHIFTS, _MASK = 1, 17, 49, 50, 51, 52, 64
_DIFF_SRC, _DIFF_DST, _DIFF_SCALES, _DIFF_SHIFTS = 129, 145, 255, 256


@functools.cache
def norm_plan(shape: tuple[int, ...], epsilon: float, relu: bool) -> Plan:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, with statistics that are given.

    `run(x, mean, var, scale, bias, y, mask, workspace)`: x and y are (B, H, W, C), the four vectors (C,), and the mask
    says where y is above 0, a bit each, eight to a byte, the first in the lowest; it is left out without `relu`.

    Raises:
      Failed: oneDNN has only a slow implementation.
      Unavailable: there is no oneDNN here.
    """
    library = load()
    # Not oneDNN's own statistics: of 131,072 normal numbers its variance is off by 3e-5, XLA's by 1e-7.
    norm = _forward(library, shape, epsilon, relu, _GIVEN_STATISTICS)
    return _plan(library, norm, shape, [_SRC, _MEAN, _VARIANCE, _SCALES, _SHIFTS, _DST, *[_MASK] * relu])


@functools.cache
def norm_gradient_plan(shape: tuple[int, ...], epsilon: float, relu: bool) -> Plan:
    """The gradients by x, scale and bias, through the batch's statistics; raises as `norm_plan` does.

    `run(dy, x, mean, var, scale, mask, dx, dscale, dbias, workspace)`; without `relu` there is no mask.
    """
    library = load()
    gradient = _backward(library, shape, epsilon, relu)
    numbers = [_DIFF_DST, _SRC, _MEAN, _VARIANCE, _SCALES, *[_MASK] * relu, _DIFF_SRC, _DIFF_SCALES, _DIFF_SHIFTS]
    return _plan(library, gradient, shape, numbers)


def _plan(library: Library, primitive: c_void_p, shape: Sequence[int], numbers: Sequence[int]) -> Plan:
    """One primitive, whose call has these arguments by oneDNN's numbers, and last the memory that it works in."""
    room, room_bytes = scratchpad(library, primitive)
    descriptors = [*_descriptors(library, primitive, shape, numbers), room]
    arguments = [(number, at) for at, number in enumerate([*numbers, SCRATCHPAD])]
    step = (library.create("primitive_create", primitive), arguments)
    return Plan(library, [(descriptor, at, 0) for at, descriptor in enumerate(descriptors)], [step], room_bytes)


def _forward(library: Library, shape: Sequence[int], epsilon: float, relu: bool, flags: int) -> c_void_p:
    both, flags = images(library, shape), flags | _SCALE | _SHIFT | _RELU * relu
    create, name = library.create, "batch_normalization_forward_primitive_desc_create"
    return _fast(library, create(name, library.engine, _FORWARD, both, both, epsilon, flags, attributes(library)))


def _backward(library: Library, shape: Sequence[int], epsilon: float, relu: bool) -> c_void_p:
    both, flags = images(library, shape), _SCALE | _SHIFT | _RELU * relu
    hint = _forward(library, shape, epsilon, relu, 0)
    create, name, common = library.create, "batch_normalization_backward_primitive_desc_create", attributes(library)
    return _fast(library, create(name, library.engine, _BACKWARD, both, both, both, epsilon, flags, hint, common))


def _fast(library: Library, primitive: c_void_p) -> c_void_p:
    """The primitive descriptor, if it's one of those that are compiled for the shape."""
    if not (found := implementation(library, primitive)).startswith("bnorm_jit"):
        raise Failed(f"oneDNN has only {found} for this")
    return primitive


def _descriptors(library: Library, primitive: c_void_p, shape: Sequence[int], numbers: Sequence[int]) -> list[c_void_p]:
    """What the arrays with these numbers of oneDNN's look like."""
    large, vector = images(library, shape), array(library, shape[-1:], (1,))
    found: dict[int, c_void_p] = dict.fromkeys((_SRC, _DST, _DIFF_SRC, _DIFF_DST), large)
    if _MASK in numbers:
        found[_MASK] = query(library, primitive, _QUERY_WORKSPACE)
        size = shape[0] * shape[1] * shape[2] * shape[3]
        if shape[-1] % 8 or library.bytes_of(found[_MASK]) * 8 != size:
            raise Failed(f"oneDNN keeps a mask of {library.bytes_of(found[_MASK])} bytes for {shape}")
    return [found.get(number, vector) for number in numbers]
