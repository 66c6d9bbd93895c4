"""A convolution or one of its gradients by oneDNN: the weights in the arrangement that it likes best, and back; and
what follows a convolution at test time done while its results are at hand."""

import functools
from ctypes import c_void_p
from typing import Any, Literal, NamedTuple

from fcnn.nn.onednn.library import DIMS, load
from fcnn.nn.onednn.plan import (
    DST,
    F32,
    SCRATCHPAD,
    ExecutionPlan,
    PostOps,
    array,
    attributes,
    describe,
    images,
    query,
    scratchpad,
)  # fmt: skip

Name = Literal["x", "w", "y"]
OPERANDS: dict[Name, tuple[Name, Name]] = {"y": ("x", "w"), "x": ("y", "w"), "w": ("x", "y")}
"""What each of the three is computed from: the output, the input's gradient, the weights' gradient."""

# Values of oneDNN's enumerations (dnnl_types.h).
_ANY, _FORWARD, _DIRECT = 1, 64, 1
_QUERY_WEIGHTS, _QUERY_DIFF_WEIGHTS = 131, 132
_FROM = 1
_ARGUMENT: dict[Name, dict[Name, int]] = {
    "y": {"x": 1, "w": 33, "y": DST},  # SRC, WEIGHTS, DST
    "x": {"x": 129, "w": 33, "y": 145},  # DIFF_SRC, WEIGHTS, DIFF_DST
    "w": {"x": 1, "w": 161, "y": 145},  # SRC, DIFF_WEIGHTS, DIFF_DST
}


class Geometry(NamedTuple):
    """Everything about a convolution but its numbers.

    Shapes: x (B, H, W, C), w (KH, KW, C / groups, O), y (B, H', W', O).
    """

    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


@functools.cache
def convolution_plan(want: Name, geometry: Geometry, post_ops: PostOps | None = None) -> ExecutionPlan:
    """The plan of one of the three products of a convolution: `run(first, second, result, workspace)`, and with
    `post_ops`, which the convolution alone can have, `run(x, w[, scale], bias[, added], y, workspace)`.

    Raises:
      Failed: oneDNN has no implementation, or only its slow reference.
      Unavailable: there is no oneDNN here.
    """
    library = load()
    names = [*OPERANDS[want], *(post_ops.operands if post_ops else ()), want]
    plain = {name: _plain(name, geometry) for name in names}
    bias, operations = None, None
    if post_ops:
        if not post_ops.scale:
            bias = plain["bias"] = array(geometry.w[-1:], (1,))
        operations = library.create("post_ops_create")
        post_ops.append_to(operations, plain)
    convolution = _describe(want, geometry, plain["x"], plain["y"], bias, attributes(operations))
    blocked = query(convolution, _QUERY_DIFF_WEIGHTS if want == "w" else _QUERY_WEIGHTS)
    room, room_bytes = scratchpad(convolution)
    arrays = [(plain[name], at, 0) for at, name in enumerate(names)]
    workspace = arranged = len(arrays)  # the buffer behind the others; the array in it, behind the others too
    arrays += [(blocked, workspace, room_bytes), (room, workspace, 0)]

    weights = names.index("w")
    numbers: dict[str, int] = {**_ARGUMENT[want], **(post_ops.numbers if post_ops else {})}
    arguments = [(numbers[name], at) for at, name in enumerate(names)] + [(SCRATCHPAD, arranged + 1)]
    steps = [(library.create("primitive_create", convolution), arguments)]
    if not library.equal(plain["w"], blocked):
        ends = (blocked, plain["w"]) if want == "w" else (plain["w"], blocked)
        engine = library.engine
        reorder = library.create("reorder_primitive_desc_create", ends[0], engine, ends[1], engine, None)
        arguments[weights] = (numbers["w"], arranged)
        moved = [(_FROM, arranged), (DST, weights)] if want == "w" else [(_FROM, weights), (DST, arranged)]
        steps.insert(1 if want == "w" else 0, (library.create("primitive_create", reorder), moved))
    # Room to work in, and the weights as oneDNN arranges them.
    return ExecutionPlan(arrays, steps, room_bytes + library.bytes_of(blocked))


def _plain(name: str, geometry: Geometry) -> c_void_p:
    """The arrangement of a JAX array: NHWC, or HWIO for the weights, which are (G)OIHW to oneDNN."""
    if name in ("scale", "bias"):
        return images((1, 1, 1, geometry.w[-1]))
    if name != "w":
        return images(geometry.y if name == "added" else getattr(geometry, name))
    _, w, i, o = geometry.w
    each = o // geometry.groups
    return array(_weights(geometry), (each, 1, o, w * i * o, i * o)[geometry.groups == 1 :])


def _weights(geometry: Geometry) -> tuple[int, ...]:
    """The weights' axes: (groups, O / groups, C / groups, KH, KW), the first only where there are several groups."""
    h, w, i, o = geometry.w
    return (geometry.groups, o // geometry.groups, i, h, w)[geometry.groups == 1 :]


def _describe(want: Name, geometry: Geometry, x: c_void_p, y: c_void_p, bias: Any, attributes: c_void_p) -> c_void_p:
    """The primitive descriptor of the convolution, with weights arranged as oneDNN likes best."""
    dims = _weights(geometry)
    weights = load().create("memory_desc_create_with_tag", len(dims), DIMS(*dims), F32, _ANY)
    before, after = zip(*geometry.padding, strict=True)
    dilation = (d - 1 for d in geometry.dilation)  # oneDNN counts the gaps
    window = (DIMS(*geometry.strides), DIMS(*dilation), DIMS(*before), DIMS(*after))
    forward = describe("convolution_forward", _FORWARD, _DIRECT, x, weights, bias, y, *window, attributes)
    # The gradients' descriptors want that of the forward pass as a hint.
    if want == "x":
        return describe("convolution_backward_data", _DIRECT, x, weights, y, *window, forward, attributes)
    if want == "w":
        return describe("convolution_backward_weights", _DIRECT, x, weights, None, y, *window, forward, attributes)
    return forward
