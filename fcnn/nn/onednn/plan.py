"""One convolution, made ready for oneDNN: primitives are found once for each shape, and run as often as one likes."""

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_void_p
from typing import Literal, NamedTuple

from fcnn.nn.onednn.library import DIMS, ExecArg, Failed, Library, load

Name = Literal["x", "w", "y"]
OPERANDS: dict[Name, tuple[Name, Name]] = {"y": ("x", "w"), "x": ("y", "w"), "w": ("x", "y")}
"""What each of the three is computed from: the output, the input's gradient, the weights' gradient."""

# Values of oneDNN's enumerations (dnnl_types.h).
_IN_ORDER, _F32, _ANY, _FORWARD, _DIRECT, _USER_SCRATCHPAD = 1, 3, 1, 64, 1, 1
_QUERY_NAME, _QUERY_WEIGHTS, _QUERY_DIFF_WEIGHTS, _QUERY_SCRATCHPAD = 8, 131, 132, 136
_FROM, _TO, _SCRATCHPAD = 1, 17, 80
_ARGUMENT: dict[Name, dict[Name, int]] = {
    "y": {"x": 1, "w": 33, "y": 17},  # SRC, WEIGHTS, DST
    "x": {"x": 129, "w": 33, "y": 145},  # DIFF_SRC, WEIGHTS, DIFF_DST
    "w": {"x": 1, "w": 161, "y": 145},  # SRC, DIFF_WEIGHTS, DIFF_DST
}
_ALIGNMENT = 64


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


class Plan:
    """oneDNN's primitives for one of the three products of a convolution; `run` may be called from several threads."""

    def __init__(self, want: Name, geometry: Geometry) -> None:
        """Finds an implementation.

        Raises:
          Failed: oneDNN has none, or only its slow reference.
          Unavailable: there is no oneDNN here.
        """
        self.library = library = load()
        self.names: tuple[Name, ...] = (*OPERANDS[want], want)
        attributes = library.create("primitive_attr_create")
        # The memory that primitives work in comes with each call, else two calls at once would share it.
        library.call("primitive_attr_set_scratchpad_mode", attributes, _USER_SCRATCHPAD)
        plain: dict[Name, c_void_p] = {name: _plain(library, name, geometry) for name in self.names}
        convolution = _describe(library, want, geometry, plain, attributes)
        self.implementation = _name(library, convolution)
        if self.implementation.startswith("ref"):
            raise Failed(f"oneDNN: {want} of {geometry} would be computed by {self.implementation}")
        blocked = _query(library, convolution, _QUERY_DIFF_WEIGHTS if want == "w" else _QUERY_WEIGHTS)
        scratchpad = _query(library, convolution, _QUERY_SCRATCHPAD)
        self.descriptors = [*(plain[name] for name in self.names), blocked, scratchpad]
        self.scratch_bytes = -(-library.bytes_of(scratchpad) // _ALIGNMENT) * _ALIGNMENT
        self.workspace_bytes = self.scratch_bytes + library.bytes_of(blocked)
        """What `run` needs besides operands and result: the weights as oneDNN arranges them, and room to work in."""

        # A step is a primitive with its arguments: (oneDNN's number for it, the place in self.descriptors).
        weights = self.names.index("w")
        arguments = [(_ARGUMENT[want][name], at) for at, name in enumerate(self.names)]
        if library.equal(plain["w"], blocked):
            self.steps = [(library.create("primitive_create", convolution), [*arguments, (_SCRATCHPAD, 4)])]
        else:
            ends = (blocked, plain["w"]) if want == "w" else (plain["w"], blocked)
            engine = library.engine
            reorder = library.create("reorder_primitive_desc_create", ends[0], engine, ends[1], engine, None)
            arguments[weights] = (_ARGUMENT[want]["w"], 3)
            moved = [(_FROM, 3), (_TO, weights)] if want == "w" else [(_FROM, weights), (_TO, 3)]
            self.steps = [
                (library.create("primitive_create", convolution), [*arguments, (_SCRATCHPAD, 4)]),
                (library.create("primitive_create", reorder), moved),
            ]
            if want != "w":
                self.steps.reverse()
        self.idle: list[_Slot] = []

    def run(self, first: int, second: int, result: int, workspace: int) -> None:
        """Computes; the arguments are addresses, of `workspace_bytes` bytes the last one."""
        try:
            slot = self.idle.pop()  # one step for the interpreter: no two threads get the same
        except IndexError:
            slot = _Slot(self)
        addresses = (first, second, result, workspace + self.scratch_bytes, workspace)
        slot.run(addresses)
        self.idle.append(slot)


class _Slot:
    """The objects that one call at a time can use: a stream, and memory objects that point to that call's arrays."""

    def __init__(self, plan: Plan) -> None:
        library, engine = plan.library, plan.library.engine
        self.set_address = library.functions["memory_set_data_handle"]
        self.execute = library.functions["primitive_execute"]
        self.stream = library.create("stream_create", engine, _IN_ORDER)
        self.memories = [library.create("memory_create", md, engine, None) for md in plan.descriptors]
        self.steps = []
        for primitive, arguments in plan.steps:
            array = (ExecArg * len(arguments))(*((number, self.memories[at].value) for number, at in arguments))
            self.steps.append((primitive, len(arguments), array))

    def run(self, addresses: Sequence[int]) -> None:
        for memory, address in zip(self.memories, addresses, strict=True):
            self.set_address(memory, address)
        for primitive, count, arguments in self.steps:
            if status := self.execute(primitive, self.stream, count, arguments):
                raise Failed(f"oneDNN: a primitive failed with status {status}")


@functools.cache
def make_plan(want: Name, geometry: Geometry) -> Plan:
    """The plan of a convolution. Plans are kept for the life of the process, as are the programs that use them."""
    return Plan(want, geometry)


def _plain(library: Library, name: Name, geometry: Geometry) -> c_void_p:
    """The arrangement of a JAX array: NHWC, or HWIO for the weights. oneDNN's order of axes is NCHW and (G)OIHW."""
    if name != "w":
        b, h, w, c = getattr(geometry, name)
        dims, strides = (b, c, h, w), (h * w * c, 1, w * c, c)
    else:
        h, w, i, o = geometry.w
        each = o // geometry.groups
        dims, strides = _weights(geometry), (each, 1, o, w * i * o, i * o)[geometry.groups == 1 :]
    return library.create("memory_desc_create_with_strides", len(dims), DIMS(*dims), _F32, DIMS(*strides))


def _weights(geometry: Geometry) -> tuple[int, ...]:
    """The weights' axes: (groups, O / groups, C / groups, KH, KW), the first only where there are several groups."""
    h, w, i, o = geometry.w
    return (geometry.groups, o // geometry.groups, i, h, w)[geometry.groups == 1 :]


def _describe(
    library: Library, want: Name, geometry: Geometry, plain: dict[Name, c_void_p], attributes: c_void_p
) -> c_void_p:
    """The primitive descriptor of the convolution, with weights arranged as oneDNN likes best."""
    engine = library.engine
    dims = _weights(geometry)
    weights = library.create("memory_desc_create_with_tag", len(dims), DIMS(*dims), _F32, _ANY)
    before, after = zip(*geometry.padding, strict=True)
    dilation = (d - 1 for d in geometry.dilation)  # oneDNN counts the gaps
    numbers = (DIMS(*geometry.strides), DIMS(*dilation), DIMS(*before), DIMS(*after))
    x, y = plain["x"], plain["y"]
    create, name = library.create, "convolution_{}_primitive_desc_create"
    forward = create(name.format("forward"), engine, _FORWARD, _DIRECT, x, weights, None, y, *numbers, attributes)
    if want == "y":
        return forward
    # The gradients' descriptors want that of the forward pass as a hint.
    if want == "x":
        return create(name.format("backward_data"), engine, _DIRECT, x, weights, y, *numbers, forward, attributes)
    return create(name.format("backward_weights"), engine, _DIRECT, x, weights, None, y, *numbers, forward, attributes)


def _query(library: Library, descriptor: c_void_p, what: int) -> c_void_p:
    """A memory descriptor that belongs to a primitive descriptor."""
    return c_void_p(library.query(descriptor, what, 0))


def _name(library: Library, descriptor: c_void_p) -> str:
    name = ctypes.c_char_p()
    library.call("primitive_desc_query", descriptor, _QUERY_NAME, 0, ctypes.byref(name))
    return (name.value or b"").decode()
