"""Pooling and concatenation by oneDNN."""

import functools
import math
from collections.abc import Sequence
from ctypes import c_void_p
from typing import Any, Literal

from fcnn.nn.geometry import Windows
from fcnn.nn.onednn.library import DIMS, Failed, load
from fcnn.nn.onednn.plan import DST, SCRATCHPAD, ExecutionPlan, attributes, describe, images, query, scratchpad

# Values of oneDNN's enumerations (dnnl_types.h).
_TRAINING, _INFERENCE, _QUERY_WORKSPACE = 64, 96, 135
_SRC, _PLACES, _DIFF_SRC, _DIFF_DST, _MULTIPLE_SRC = 1, 64, 129, 145, 1024
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
    pool = _forward(_INFERENCE, kind, shape, windows)
    return _plan(pool, [_SRC], [images(shape)], _result(shape, windows))


@functools.cache
def max_pool_plan(shape: tuple[int, ...], windows: Windows) -> ExecutionPlan:
    """The plan of a max pooling in training: `run(x, y, places, workspace)`; raises as `pool_plan` does.

    `places` says which entry of its window each of y is, by its number in the window: uint8 of y's shape.
    """
    pool = _forward(_TRAINING, "max", shape, windows)
    return _in_order(pool, {_SRC: images(shape), DST: _result(shape, windows), _PLACES: _places(pool, shape, windows)})


@functools.cache
def max_pool_gradient_plan(shape: tuple[int, ...], windows: Windows) -> ExecutionPlan:
    """The plan of its gradient: `run(dy, places, dx, workspace)`; raises as `pool_plan` does."""
    pool, dx, dy = _forward(_TRAINING, "max", shape, windows), images(shape), _result(shape, windows)
    gradient = describe("pooling_backward", _KIND["max"], dx, dy, *_layout(shape, windows), pool, attributes())
    return _in_order(gradient, {_DIFF_DST: dy, _PLACES: _places(pool, shape, windows), _DIFF_SRC: dx})


def _result(shape: tuple[int, ...], windows: Windows) -> c_void_p:
    return images((shape[0], *windows.output, shape[-1]))


def _places(pool: c_void_p, shape: tuple[int, ...], windows: Windows) -> c_void_p:
    """The descriptor of the places; Failed unless they are a byte for each entry of y."""
    places = query(pool, _QUERY_WORKSPACE)
    if load().bytes_of(places) != shape[0] * math.prod(windows.output) * shape[-1]:
        raise Failed(f"oneDNN keeps places of {load().bytes_of(places)} bytes for {shape}")
    return places


def _forward(purpose: int, kind: Kind, shape: tuple[int, ...], windows: Windows) -> c_void_p:
    x, y, layout = images(shape), _result(shape, windows), _layout(shape, windows, whole=kind == "mean")
    return describe("pooling_forward", purpose, _KIND[kind], x, y, *layout, attributes())


def _layout(shape: tuple[int, ...], windows: Windows, *, whole: bool = False) -> list[Any]:
    """Stride, kernel, dilation and padding as oneDNN takes them; Failed if a window must be `whole` and isn't."""
    ends = []  # oneDNN wants padding up to the last window's end, which may be more or less than there is
    for size, kernel, stride, (before, after), count in zip(shape[1:-1], *windows[:2], *windows[3:], strict=True):
        beyond = (count - 1) * stride + kernel - size - before
        if whole and beyond > after:
            raise Failed("oneDNN would count what lies beyond the padding")
        ends.append((before, max(beyond, 0)))
    before, after = zip(*ends, strict=True)
    dilation = [one - 1 for one in windows.dilation]
    return [DIMS(*numbers) for numbers in (windows.stride, windows.kernel, dilation, before, after)]


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
    return _in_order(primitive, {**dict(zip(numbers, operands, strict=True)), DST: y})


def _in_order(primitive: c_void_p, descriptors: dict[int, c_void_p]) -> ExecutionPlan:
    """One primitive, whose call has these arguments by oneDNN's numbers, and last the memory that it works in."""
    room, room_bytes = scratchpad(primitive)
    descriptors = {**descriptors, SCRATCHPAD: room}
    arguments = [(number, at) for at, number in enumerate(descriptors)]
    arrays = [(descriptor, at, 0) for at, descriptor in enumerate(descriptors.values())]
    return ExecutionPlan(arrays, [(load().create("primitive_create", primitive), arguments)], room_bytes)
