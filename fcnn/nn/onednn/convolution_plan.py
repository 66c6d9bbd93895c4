"""A convolution or one of its gradients by oneDNN: the weights in the arrangement that it likes best, and back; and
what follows a convolution at test time done while its results are at hand."""

import functools
from collections.abc import Mapping
from ctypes import c_void_p
from typing import Literal, NamedTuple

from fcnn.nn.onednn.ending import Ending, ending_attributes
from fcnn.nn.onednn.library import DIMS, Library, load
from fcnn.nn.onednn.plan import F32, SCRATCHPAD, Plan, array, images, implementation, query, scratchpad

Name = Literal["x", "w", "y"]
OPERANDS: dict[Name, tuple[Name, Name]] = {"y": ("x", "w"), "x": ("y", "w"), "w": ("x", "y")}
"""What each of the three is computed from: the output, the input's gradient, the weights' gradient."""

# Values of oneDNN's enumerations (dnnl_types.h).
_ANY, _FORWARD, _DIRECT = 1, 64, 1
_QUERY_WEIGHTS, _QUERY_DIFF_WEIGHTS = 131, 132
_FROM, _TO = 1, 17
_ARGUMENT: dict[Name, dict[Name, int]] = {
    "y": {"x": 1, "w": 33, "y": 17},  # SRC, WEIGHTS, DST
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


class ConvolutionPlan(Plan):
    """oneDNN's primitives for one of the three products of a convolution: `run(first, second, result, workspace)`, and
    with an ending, of which the convolution alone can have one, `run(x, w[, scale], bias[, added], y, workspace)`."""

    def __init__(self, want: Name, geometry: Geometry, ending: Ending | None) -> None:
        """Finds an implementation.

        Raises:
          Failed: oneDNN has none, or only its slow reference.
          Unavailable: there is no oneDNN here.
        """
        library = load()
        names = [*OPERANDS[want], *(ending.operands if ending else ()), want]
        plain: dict[str, c_void_p] = {name: _plain(library, name, geometry) for name in names}
        own = None  # the convolution's own bias
        if ending and not ending.scale:
            own = plain["bias"] = array(library, geometry.w[-1:], (1,))
        convolution = _describe(library, want, geometry, plain, own, ending_attributes(library, ending, plain))
        self.implementation = implementation(library, convolution)
        blocked = query(library, convolution, _QUERY_DIFF_WEIGHTS if want == "w" else _QUERY_WEIGHTS)
        room, room_bytes = scratchpad(library, convolution)
        arrays = [(plain[name], at, 0) for at, name in enumerate(names)]
        workspace = arranged = len(arrays)  # the buffer behind the others; the array in it, behind the others too
        arrays += [(blocked, workspace, room_bytes), (room, workspace, 0)]

        weights = names.index("w")
        numbers: dict[str, int] = {**_ARGUMENT[want], **(ending.numbers if ending else {})}
        arguments = [(numbers[name], at) for at, name in enumerate(names)] + [(SCRATCHPAD, arranged + 1)]
        steps = [(library.create("primitive_create", convolution), arguments)]
        if not library.equal(plain["w"], blocked):
            ends = (blocked, plain["w"]) if want == "w" else (plain["w"], blocked)
            engine = library.engine
            reorder = library.create("reorder_primitive_desc_create", ends[0], engine, ends[1], engine, None)
            arguments[weights] = (numbers["w"], arranged)
            moved = [(_FROM, arranged), (_TO, weights)] if want == "w" else [(_FROM, weights), (_TO, arranged)]
            steps.insert(1 if want == "w" else 0, (library.create("primitive_create", reorder), moved))
        # Room to work in, and the weights as oneDNN arranges them.
        super().__init__(library, arrays, steps, room_bytes + library.bytes_of(blocked))


@functools.cache
def convolution_plan(want: Name, geometry: Geometry, ending: Ending | None = None) -> ConvolutionPlan:
    """The plan of a convolution. Plans are kept for the life of the process, as are the programs that use them."""
    return ConvolutionPlan(want, geometry, ending)


def _plain(library: Library, name: str, geometry: Geometry) -> c_void_p:
    """The arrangement of a JAX array: NHWC, or HWIO for the weights, which are (G)OIHW to oneDNN."""
    if name in ("scale", "bias"):
        return images(library, (1, 1, 1, geometry.w[-1]))
    if name != "w":
        return images(library, geometry.y if name == "added" else getattr(geometry, name))
    _, w, i, o = geometry.w
    each = o // geometry.groups
    return array(library, _weights(geometry), (each, 1, o, w * i * o, i * o)[geometry.groups == 1 :])


def _weights(geometry: Geometry) -> tuple[int, ...]:
    """The weights' axes: (groups, O / groups, C / groups, KH, KW), the first only where there are several groups."""
    h, w, i, o = geometry.w
    return (geometry.groups, o // geometry.groups, i, h, w)[geometry.groups == 1 :]


def _describe(
    library: Library,
    want: Name,
    geometry: Geometry,
    plain: Mapping[str, c_void_p],
    bias: c_void_p | None,
    attributes: c_void_p,
) -> c_void_p:
    """The primitive descriptor of the convolution, with weights arranged as oneDNN likes best."""
    engine = library.engine
    dims = _weights(geometry)
    weights = library.create("memory_desc_create_with_tag", len(dims), DIMS(*dims), F32, _ANY)
    before, after = zip(*geometry.padding, strict=True)
    dilation = (d - 1 for d in geometry.dilation)  # oneDNN counts the gaps
    numbers = (DIMS(*geometry.strides), DIMS(*dilation), DIMS(*before), DIMS(*after))
    x, y = plain["x"], plain["y"]
    create, name = library.create, "convolution_{}_primitive_desc_create"
    forward = create(name.format("forward"), engine, _FORWARD, _DIRECT, x, weights, bias, y, *numbers, attributes)
    if want == "y":
        return forward
    # The gradients' descriptors want that of the forward pass as a hint.
    if want == "x":
        return create(name.format("backward_data"), engine, _DIRECT, x, weights, y, *numbers, forward, attributes)
    return create(name.format("backward_weights"), engine, _DIRECT, x, weights, None, y, *numbers, forward, attributes)
