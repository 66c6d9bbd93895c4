"""Pooling and concatenation by oneDNN."""

import functools
from collections.abc import Sequence
from ctypes import c_void_p
from typing import Literal

from fcnn.nn.geometry import Windows
from fcnn.nn.onednn.library import DIMS, Failed, load
from fcnn.nn.onednn.plan import DST, SCRATCHPAD, ExecutionPlan, attributes, describe, images, scratchpad

# Values of oneDNN's enumerations (dnnl_types.h).
_FORWARD, _SRC, _MULTIPLE_SRC = 96, 1, 1024
_KIND = {"max": 0x1FF, "mean": 0x2FF, "mean of the image": 0x3FF}
_CHANNELS = 1

Kind = Literal["max", "mean", "mean of the image"]
"""The largest entry of each window; its mean, with the padding's zeros; or without them."""


@functools.cache
def pool_plan(kind: Kind, shape: tuple[int, ...], windows: Windows) -> ExecutionPlan:
    """The plan of a pooling: `run(x, y, workspace)`.

    Args:
      shape: of x, (B, H, W, C).
      windows: for "mean", none reaches beyond the padding.

    Raises:
      Failed: oneDNN has no implementation, or only its slow reference.
      Unavailable: there is no oneDNN here.
    """
    batch, *pixels, channels = shape
    ends = []  # oneDNN wants padding up to the last window's end, which may be more or less than there is
    for size, kernel, stride, (before, after), count in zip(pixels, *windows[:2], *windows[3:], strict=True):
        beyond = (count - 1) * stride + kernel - size - before
        if kind == "mean" and beyond > after:
            raise Failed("oneDNN would count what lies beyond the padding")
        ends.append((before, max(beyond, 0)))
    before, after = zip(*ends, strict=True)
    window = DIMS(*windows.stride), DIMS(*windows.kernel), DIMS(*(one - 1 for one in windows.dilation))
    x, y = images(shape), images((batch, *windows.output, channels))
    padding = DIMS(*before), DIMS(*after)
    pool = describe("pooling_forward", _FORWARD, _KIND[kind], x, y, *window, *padding, attributes())
    return _plan(pool, [_SRC], [x], y)


@functools.cache
def concatenation_plan(shapes: tuple[tuple[int, ...], ...]) -> ExecutionPlan:
    """The plan of a concatenation along the channels of arrays (B, H, W, C): `run(*arrays, y, workspace)`.

    Raises:
      Failed: oneDNN has no implementation, or only its slow reference.
      Unavailable: there is no oneDNN here.
    """
    arrays = [images(shape) for shape in shapes]
    y = images((*shapes[0][:3], sum(shape[3] for shape in shapes)))
    # The engine comes behind the description here, so `describe` doesn't fit.
    primitive = load().create(
        "concat_primitive_desc_create",
        load().engine,
        y,
        len(arrays),
        _CHANNELS,
        (c_void_p * len(arrays))(*arrays),
        attributes(),
    )
    return _plan(primitive, [_MULTIPLE_SRC + i for i in range(len(arrays))], arrays, y)


def _plan(primitive: c_void_p, numbers: Sequence[int], operands: Sequence[c_void_p], y: c_void_p) -> ExecutionPlan:
    """One primitive as a plan; the numbers are oneDNN's, of the operands."""
    room, room_bytes = scratchpad(primitive)
    arguments = [(number, at) for at, number in enumerate((*numbers, DST, SCRATCHPAD))]
    arrays = [(descriptor, at, 0) for at, descriptor in enumerate((*operands, y, room))]
    return ExecutionPlan(arrays, [(load().create("primitive_create", primitive), arguments)], room_bytes)
