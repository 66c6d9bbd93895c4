"""Products of matrices by oneDNN, one after the other: what Winograd's algorithm is made of."""

import math
from collections.abc import Sequence
from ctypes import c_void_p
from typing import NamedTuple

import numpy as np

from fcnn.nn.onednn.ending import Ending, ending_attributes
from fcnn.nn.onednn.library import Library
from fcnn.nn.onednn.plan import F32, SCRATCHPAD, Step, array, implementation, scratchpad

_FROM, _BY, _TO = 1, 33, 17  # SRC, WEIGHTS, DST of oneDNN's matmul
_ALIGNED = 16
"""Numbers of float32 in a line of the cache, at one of which oneDNN wants its room to begin."""


class Array(NamedTuple):
    """An array of float32: its axes, in which buffer of the call it lies, and with which number of that it begins."""

    dims: tuple[int, ...]
    strides: tuple[int, ...]
    buffer: int
    start: int = 0


def dense(dims: Sequence[int], buffer: int, start: int = 0) -> Array:
    """An array without gaps, row by row."""
    return Array(tuple(dims), tuple(math.prod(dims[axis + 1 :]) for axis in range(len(dims))), buffer, start)


class Products:
    """Products in the order in which they were asked for, for `Plan`.

    The buffers of a call are its operands and results, then the workspace, then the constants.
    """

    def __init__(self, library: Library, workspace: int, numbers: int) -> None:
        """Args:
        workspace: the number of its buffer; it begins with so many `numbers`, and behind them each product has room.
        """
        self._library, self.workspace = library, workspace
        self._numbers = -(-numbers // _ALIGNED) * _ALIGNED
        self._room_bytes = 0
        self.constants: list[np.ndarray] = []
        self.arrays: list[tuple[c_void_p, int, int]] = []
        self.steps: list[Step] = []

    @property
    def workspace_bytes(self) -> int:
        return 4 * self._numbers + self._room_bytes

    def constant(self, matrix: np.ndarray) -> Array:
        self.constants.append(np.ascontiguousarray(matrix, np.float32))
        return dense(matrix.shape, self.workspace + len(self.constants))

    def multiply(
        self,
        a: Array,
        b: Array,
        result: Array,
        *,
        add: bool = False,
        ending: tuple[Ending, dict[str, Array]] | None = None,
    ) -> None:
        """result = a b, matrix by matrix, where an axis before the last two that is 1 goes with any other.

        Args:
          add: to what is there already.
          ending: what happens to the results, and its operands, of as many axes.

        Raises:
          Failed: oneDNN has only a slow implementation.
        """
        library, (how, operands) = self._library, ending or (None, {})
        described = {name: array(library, one.dims, one.strides) for name, one in operands.items()}
        own_bias = described["bias"] if how and not how.scale else None
        with_what = ending_attributes(library, how, described)
        if add:
            sums = library.create("post_ops_create")
            library.call("post_ops_append_sum", sums, 1.0, 0, F32)
            library.call("primitive_attr_set_post_ops", with_what, sums)
        first, second, third = (array(library, one.dims, one.strides) for one in (a, b, result))
        name = "matmul_primitive_desc_create"
        primitive = library.create(name, library.engine, first, second, own_bias, third, with_what)
        implementation(library, primitive)  # raises if it's the slow one
        room, room_bytes = scratchpad(library, primitive)
        self._room_bytes = max(self._room_bytes, room_bytes)
        touched = [(_FROM, first, a), (_BY, second, b), (_TO, third, result)]
        touched += [(SCRATCHPAD, room, Array((), (), self.workspace, self._numbers))]
        touched += [(how.numbers[name], described[name], one) for name, one in operands.items()] if how else []
        arguments = [(number, len(self.arrays) + at) for at, (number, _, _) in enumerate(touched)]
        self.arrays += [(descriptor, one.buffer, 4 * one.start) for _, descriptor, one in touched]
        self.steps.append((library.create("primitive_create", primitive), arguments))
