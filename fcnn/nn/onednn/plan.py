"""oneDNN's primitives, made ready: found once for each shape, and run as often as one likes, from several threads."""

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from ctypes import c_float, c_void_p
from typing import Any, Literal, NamedTuple

import numpy as np

from fcnn.nn.onednn.library import DIMS, ExecArg, Failed, load

# Values of oneDNN's enumerations (dnnl_types.h).
F32 = 3
DST, SCRATCHPAD = 17, 80  # DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD
_IN_ORDER, _USER_SCRATCHPAD, _QUERY_NAME, _QUERY_SCRATCHPAD = 1, 1, 8, 136
_ADD, _MULTIPLY, _BIAS = 0x1FFF0, 0x1FFF1, 41
# The activations that can end a convolution: oneDNN's number and two arguments.
_ACTIVATION = {
    "relu": (0x20, 0, 0),
    "tanh": (0x21, 0, 0),
    "sigmoid": (0x29, 0, 0),
    "silu": (0x2C, 1, 0),  # x sigmoid(alpha x)
    "relu6": (0x2E, 0, 6),  # clip to alpha to beta
    "gelu": (0x31, 0, 0),
    "hard_swish": (0x34, 1 / 6, 1 / 2),  # x clip(alpha x + beta, 0, 1)
}
_OPERATION, _SECOND = 32768, 2  # of the first operation behind the primitive the second operand: 32768 | 2
ALIGNMENT = 64
"""Bytes of a line of the cache, at one of which oneDNN wants arrays to begin."""

Activation = Literal["relu", "tanh", "sigmoid", "silu", "relu6", "gelu", "hard_swish"]
Step = tuple[c_void_p, list[tuple[int, int]]]
"""A primitive and its arguments: oneDNN's number for each and its place among the plan's arrays."""


class ExecutionPlan:
    """A few primitives that together compute one thing; `run` may be called from several threads."""

    def __init__(
        self,
        arrays: Sequence[tuple[c_void_p, int, int]],
        steps: Sequence[Step],
        workspace_bytes: int,
        constants: Sequence[np.ndarray] = (),
    ) -> None:
        """Args:
        arrays: a memory descriptor for each array that the primitives touch, with the buffer of the call in which it
          lies and the byte at which it begins there.
        workspace_bytes: what the primitives need besides operands and results: the last buffer of the call.
        constants: arrays that count as buffers behind it.
        """
        self.arrays, self.steps, self.workspace_bytes = arrays, steps, workspace_bytes
        self.constants, self._addresses = constants, [constant.ctypes.data for constant in constants]
        self._idle: list[_Slot] = []

    def run(self, *buffers: int) -> None:
        """Computes; the arguments are addresses."""
        try:
            slot = self._idle.pop()  # one step for the interpreter: no two threads get the same
        except IndexError:
            slot = _Slot(self)
        slot.run((*buffers, *self._addresses))
        self._idle.append(slot)


class _Slot:
    """The objects that one call at a time can use: a stream, and memory objects that point to that call's arrays."""

    def __init__(self, plan: ExecutionPlan) -> None:
        library = load()
        self.set_address = library.function("memory_set_data_handle")
        self.execute = library.function("primitive_execute")
        self.stream = library.create("stream_create", library.engine, _IN_ORDER)
        memories = [
            library.create("memory_create", descriptor, library.engine, None) for descriptor, _, _ in plan.arrays
        ]
        self.by_buffer: dict[int, list[tuple[c_void_p, int]]] = {}
        for memory, (_, buffer, offset) in zip(memories, plan.arrays, strict=True):
            self.by_buffer.setdefault(buffer, []).append((memory, offset))
        self.addresses: dict[int, int] = {}
        self.steps = []
        for primitive, arguments in plan.steps:
            array = (ExecArg * len(arguments))(*((number, memories[at].value) for number, at in arguments))
            self.steps.append((primitive, len(arguments), array))
        weakref.finalize(self, _destroy, self.stream, memories).atexit = False

    def run(self, buffers: Sequence[int]) -> None:
        for buffer, memories in self.by_buffer.items():
            address = buffers[buffer]
            if self.addresses.get(buffer) == address:  # constants, and often the workspace
                continue
            for memory, offset in memories:
                self.set_address(memory, address + offset)
            self.addresses[buffer] = address
        for primitive, count, arguments in self.steps:
            if status := self.execute(primitive, self.stream, count, arguments):
                raise Failed(f"oneDNN: a primitive failed with status {status}")


def _destroy(stream: c_void_p, memories: Sequence[c_void_p]) -> None:
    library = load()
    for memory in memories:
        library.call("memory_destroy", memory)
    library.call("stream_destroy", stream)


class PostOps(NamedTuple):
    """What is done to the results of a convolution, in this order; between scale and add, a bias is added."""

    scale: bool
    """Multiply each channel by a number of its own."""
    add: bool
    """Add another array of the results' shape."""
    activation: Activation | None

    @property
    def operands(self) -> list[str]:
        """The names of what it takes, in the order of a call's buffers."""
        return [*["scale"] * self.scale, "bias", *["added"] * self.add]

    @property
    def numbers(self) -> dict[str, int]:
        """oneDNN's numbers of its operands."""
        return {"bias": _BIAS} | {name: _OPERATION * (i + 1) | _SECOND for i, name in enumerate(self._binary)}

    @property
    def _binary(self) -> list[str]:
        """The operands of oneDNN's operations on the results. A bias alone is the primitive's own argument."""
        return [*["scale", "bias"] * self.scale, *["added"] * self.add]

    def append_to(self, operations: c_void_p, descriptors: Mapping[str, c_void_p]) -> None:
        """Appends the operations to oneDNN's list; the descriptors are those of the operands, by name."""
        for name in self._binary:
            algorithm = _MULTIPLY if name == "scale" else _ADD
            load().call("post_ops_append_binary", operations, algorithm, descriptors[name])
        if self.activation:
            algorithm, alpha, beta = _ACTIVATION[self.activation]
            load().call("post_ops_append_eltwise", operations, algorithm, c_float(alpha), c_float(beta))


def attributes(operations: c_void_p | None = None) -> c_void_p:
    """The attributes of a primitive with these operations behind it. The memory that it works in comes with each call,
    else two calls at once would share it."""
    created = load().create("primitive_attr_create")
    load().call("primitive_attr_set_scratchpad_mode", created, _USER_SCRATCHPAD)
    if operations is not None:
        load().call("primitive_attr_set_post_ops", created, operations)
    return created


def images(shape: Sequence[int]) -> c_void_p:
    """The descriptor of an array (B, H, W, C); oneDNN's order of axes is NCHW, whatever lies where in memory."""
    b, h, w, c = shape
    return array((b, c, h, w), (h * w * c, 1, w * c, c))


def array(dims: Sequence[int], strides: Sequence[int]) -> c_void_p:
    """The descriptor of an array of float32."""
    return load().create("memory_desc_create_with_strides", len(dims), DIMS(*dims), F32, DIMS(*strides))


def query(primitive: c_void_p, what: int) -> c_void_p:
    """A memory descriptor that belongs to a primitive descriptor."""
    return c_void_p(load().function("primitive_desc_query_md")(primitive, what, 0))


def scratchpad(primitive: c_void_p) -> tuple[c_void_p, int]:
    """The descriptor of the memory that a primitive works in, and its bytes, such that what comes behind is aligned."""
    descriptor = query(primitive, _QUERY_SCRATCHPAD)
    return descriptor, -(-load().bytes_of(descriptor) // ALIGNMENT) * ALIGNMENT


def describe(kind: str, *args: Any, code: str = "") -> c_void_p:
    """Returns the descriptor of a primitive: "matmul" calls dnnl_matmul_primitive_desc_create.

    Raises:
      Failed: the code that oneDNN chose is the slow reference, or its name doesn't begin with `code`.
    """
    library, name = load(), ctypes.c_char_p()
    primitive = library.create(f"{kind}_primitive_desc_create", library.engine, *args)
    library.call("primitive_desc_query", primitive, _QUERY_NAME, 0, ctypes.byref(name))
    chosen = (name.value or b"").decode()
    if chosen.startswith("ref") or not chosen.startswith(code):
        raise Failed(f"oneDNN has only {chosen} for this")
    return primitive
