"""oneDNN's primitives, made ready: found once for each shape, and run as often as one likes, from several threads."""

import ctypes
from collections.abc import Sequence
from ctypes import c_void_p
from typing import Any

import numpy as np

from fcnn.nn.onednn.library import DIMS, ExecArg, Failed, Library

F32 = 3  # dnnl_f32
SCRATCHPAD = 80  # DNNL_ARG_SCRATCHPAD
_IN_ORDER, _USER_SCRATCHPAD, _QUERY_NAME, _QUERY_SCRATCHPAD = 1, 1, 8, 136
_ALIGNMENT = 64

Step = tuple[c_void_p, list[tuple[int, int]]]
"""A primitive and its arguments: oneDNN's number for each and its place among the plan's arrays."""


class Plan:
    """A few primitives that together compute one thing; `run` may be called from several threads."""

    def __init__(
        self,
        library: Library,
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
        self.library, self.arrays, self.steps, self.workspace_bytes = library, arrays, steps, workspace_bytes
        self._constants, self._addresses = constants, [constant.ctypes.data for constant in constants]
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

    def __init__(self, plan: Plan) -> None:
        library, engine = plan.library, plan.library.engine
        self.set_address = library.functions["memory_set_data_handle"]
        self.execute = library.functions["primitive_execute"]
        self.stream = library.create("stream_create", engine, _IN_ORDER)
        self.memories = [
            (library.create("memory_create", descriptor, engine, None), buffer, offset)
            for descriptor, buffer, offset in plan.arrays
        ]
        self.steps = []
        for primitive, arguments in plan.steps:
            array = (ExecArg * len(arguments))(*((number, self.memories[at][0].value) for number, at in arguments))
            self.steps.append((primitive, len(arguments), array))

    def run(self, buffers: Sequence[int]) -> None:
        for memory, buffer, offset in self.memories:
            self.set_address(memory, buffers[buffer] + offset)
        for primitive, count, arguments in self.steps:
            if status := self.execute(primitive, self.stream, count, arguments):
                raise Failed(f"oneDNN: a primitive failed with status {status}")


def attributes(library: Library) -> c_void_p:
    """What all primitives here have in common: the memory that they work in comes with each call, else two calls at
    once would share it."""
    made = library.create("primitive_attr_create")
    library.call("primitive_attr_set_scratchpad_mode", made, _USER_SCRATCHPAD)
    return made


def images(library: Library, shape: Sequence[int]) -> c_void_p:
    """The descriptor of an array (B, H, W, C); oneDNN's order of axes is NCHW, whatever lies where in memory."""
    b, h, w, c = shape
    return array(library, (b, c, h, w), (h * w * c, 1, w * c, c))


def array(library: Library, dims: Sequence[int], strides: Sequence[int]) -> c_void_p:
    """The descriptor of an array of float32."""
    return library.create("memory_desc_create_with_strides", len(dims), DIMS(*dims), F32, DIMS(*strides))


def query(library: Library, primitive: c_void_p, what: int) -> c_void_p:
    """A memory descriptor that belongs to a primitive descriptor."""
    return c_void_p(library.query(primitive, what, 0))


def scratchpad(library: Library, primitive: c_void_p) -> tuple[c_void_p, int]:
    """The descriptor of the memory that a primitive works in, and its bytes, such that what comes behind is aligned."""
    descriptor = query(library, primitive, _QUERY_SCRATCHPAD)
    return descriptor, -(-library.bytes_of(descriptor) // _ALIGNMENT) * _ALIGNMENT


def implementation(library: Library, primitive: c_void_p) -> str:
    """What oneDNN calls the code that it chose.

    Raises:
      Failed: it is the slow reference.
    """
    name: Any = ctypes.c_char_p()
    library.call("primitive_desc_query", primitive, _QUERY_NAME, 0, ctypes.byref(name))
    found = (name.value or b"").decode()
    if found.startswith("ref"):
        raise Failed(f"oneDNN has only {found} for this")
    return found
