"""Winograd's algorithm by oneDNN, whose versions 3 have no implementation of their own: as products of matrices."""

import functools
import math
from collections.abc import Sequence
from ctypes import c_float, c_void_p
from typing import NamedTuple

import numpy as np

from fcnn.nn.onednn.convolution_plan import OPERANDS, Geometry, Name
from fcnn.nn.onednn.library import load
from fcnn.nn.onednn.plan import (
    DST,
    F32,
    SCRATCHPAD,
    ExecutionPlan,
    PostOps,
    Step,
    array,
    attributes,
    describe,
    scratchpad,
)
from fcnn.nn.onednn.winograd import TAPS, VALUES, input_matrix, output_matrix, tiles, weights_matrix

_LARGEST = 4 << 20
"""Of about how many numbers the values of a turn's images are: what is written is read again while it's near."""
_FROM, _BY = 1, 33  # SRC and WEIGHTS of oneDNN's matmul
_ALIGNED = 16
"""Numbers of float32 in a line of the cache, at one of which oneDNN wants its room to begin."""


@functools.cache
def winograd_plan(want: Name, geometry: Geometry, post_ops: PostOps | None = None) -> ExecutionPlan:
    """The plan of a convolution that `winograd.suits`, with the buffers of `convolution_plan`.

    Raises:
      Failed: oneDNN has only a slow implementation.
      Unavailable: there is no oneDNN here.
    """
    names = [*OPERANDS[want], *(post_ops.operands if post_ops else ()), want]
    composed = _Composition(geometry, {name: at for at, name in enumerate(names)})
    if want == "w":
        composed.gradient_by_kernel()
    else:
        composed.images(want, post_ops)
    return composed.products.plan()


class Array(NamedTuple):
    """An array of float32: its axes, in which buffer of the call it lies, and with which number of that it begins."""

    dims: tuple[int, ...]
    strides: tuple[int, ...]
    buffer: int
    start: int = 0


def dense(dims: Sequence[int], buffer: int, start: int = 0) -> Array:
    """An array without gaps, row by row."""
    return Array(tuple(dims), tuple(math.prod(dims[axis + 1 :]) for axis in range(len(dims))), buffer, start)


class _Products:
    """Products of matrices in the order in which they were asked for.

    The buffers of a call are its operands and results, then the workspace, then the constants.
    """

    def __init__(self, workspace: int, numbers: int) -> None:
        """Args:
        workspace: the number of its buffer; it begins with so many `numbers`, and behind them each product has room.
        """
        self.workspace, self._room_bytes = workspace, 0
        self._numbers = -(-numbers // _ALIGNED) * _ALIGNED
        self._constants: list[np.ndarray] = []
        self._arrays: list[tuple[c_void_p, int, int]] = []
        self._steps: list[Step] = []

    def plan(self) -> ExecutionPlan:
        """All of them, one after the other."""
        return ExecutionPlan(self._arrays, self._steps, 4 * self._numbers + self._room_bytes, self._constants)

    def constant(self, matrix: np.ndarray) -> Array:
        self._constants.append(np.ascontiguousarray(matrix, np.float32))
        return dense(matrix.shape, self.workspace + len(self._constants))

    def multiply(
        self, a: Array, b: Array, result: Array, *,
        add: bool = False, post_ops: PostOps | None = None, operands: dict[str, Array] | None = None,
    ) -> None:  # fmt: skip
        """result = a b, matrix by matrix, where an axis before the last two that is 1 goes with any other.

        Args:
          add: to what is there already.
          post_ops: what happens to the results; its operands, of as many axes.

        Raises:
          Failed: oneDNN has only a slow implementation.
        """
        library, operands = load(), operands or {}
        described = {name: array(one.dims, one.strides) for name, one in operands.items()}
        operations = library.create("post_ops_create")
        if post_ops:
            post_ops.append_to(operations, described)
        if add:
            library.call("post_ops_append_sum", operations, c_float(1), 0, F32)
        bias = described["bias"] if post_ops and not post_ops.scale else None
        first, second, third = (array(one.dims, one.strides) for one in (a, b, result))
        primitive = describe("matmul", first, second, bias, third, attributes(operations))
        room, room_bytes = scratchpad(primitive)
        self._room_bytes = max(self._room_bytes, room_bytes)
        touched = [(_FROM, first, a), (_BY, second, b), (DST, third, result)]
        touched += [(SCRATCHPAD, room, Array((), (), self.workspace, self._numbers))]
        touched += [(post_ops.numbers[name], described[name], operands[name]) for name in operands] if post_ops else []
        arguments = [(number, len(self._arrays) + at) for at, (number, _, _) in enumerate(touched)]
        self._arrays += [(descriptor, one.buffer, 4 * one.start) for _, descriptor, one in touched]
        self._steps.append((library.create("primitive_create", primitive), arguments))


class _Side(NamedTuple):
    """The images at one end of the convolution."""

    shape: tuple[int, ...]
    """(B, H, W, C)"""
    buffer: int
    matrices: tuple[Array, Array]
    """That make the values of their rows and of their columns."""
    back: tuple[Array, Array]
    """That make them from these values: the same transposed."""
    values: Array
    """(images of a turn, 6 tiles, 6 tiles, C), in the workspace"""

    def part(self, turn: range) -> Array:
        first = turn.start * math.prod(self.shape[1:])
        return dense((len(turn), *self.shape[1:]), self.buffer, first)

    def values_of(self, turn: range) -> Array:
        return dense((len(turn), *self.values.dims[1:]), self.values.buffer, self.values.start)


class _Composition:
    """The products in their order. The images take turns, as many at a time as the cache may hold the values of."""

    def __init__(self, geometry: Geometry, buffers: dict[str, int]) -> None:
        (batch, *pixels, c), (*_, o) = geometry.x, geometry.y
        ends = [(size, padding) for size, (padding, _) in zip(pixels, geometry.padding, strict=True)]
        values = [VALUES * tiles(*end) for end in ends]
        count = -(-batch // -(-batch * math.prod(values) * max(c, o) // _LARGEST))
        self._turns = [range(first, min(first + count, batch)) for first in range(0, batch, count)]
        # The workspace: the values of x, y and the kernel, and what has its rows done and not its columns.
        workspace = len(buffers)
        of_x = dense((count, *values, c), workspace)
        of_y = dense((count, *values, o), workspace, math.prod(of_x.dims))
        self._kernel = dense((VALUES, VALUES, c, o), workspace, of_y.start + math.prod(of_y.dims))
        self._between = self._kernel.start + math.prod(self._kernel.dims)
        widest = max(values[0] * side[2] for side in (geometry.x, geometry.y))
        widest = max(widest, *(side[1] * values[1] for side in (geometry.x, geometry.y)))
        self.products = _Products(workspace, self._between + count * widest * max(c, o))
        self._x = self._side(geometry.x, buffers["x"], [input_matrix(*end) for end in ends], of_x)
        self._y = self._side(geometry.y, buffers["y"], [output_matrix(*end).T for end in ends], of_y)
        self._buffers, self._w = buffers, dense((TAPS**2, c * o), buffers["w"])
        self._w_values = dense((VALUES**2, c * o), *self._kernel[2:])
        self._w_matrix = np.kron(weights_matrix(), weights_matrix())

    def _side(self, shape: tuple[int, ...], buffer: int, matrices: list[np.ndarray], values: Array) -> _Side:
        rows, columns = (self.products.constant(matrix[None]) for matrix in matrices)
        back = tuple(self.products.constant(matrix.T[None]) for matrix in matrices)
        return _Side(shape, buffer, (rows, columns), (back[0], back[1]), values)

    def images(self, want: Name, post_ops: PostOps | None) -> None:
        """The convolution; or the gradient by x, which is the way back through the transposed matrices."""
        source, result = (self._x, self._y) if want == "y" else (self._y, self._x)
        kernel = dense((VALUES, VALUES, 1, *self._kernel.dims[2:]), *self._kernel[2:])
        by = kernel if want == "y" else _transposed(kernel)
        self.products.multiply(self.products.constant(self._w_matrix), self._w, self._w_values)
        for turn in self._turns:
            values, results = source.values_of(turn), result.values_of(turn)
            self._both_ways(source.matrices, source.part(turn), values)
            self.products.multiply(_by_value(values), by, _by_value(results))
            self._both_ways(result.back, results, result.part(turn), post_ops)

    def gradient_by_kernel(self) -> None:
        """For each of the values a sum over all tiles of all images."""
        for turn in self._turns:
            for side in (self._x, self._y):
                self._both_ways(side.matrices, side.part(turn), side.values_of(turn))
            x, y = (_by_value(side.values_of(turn)) for side in (self._x, self._y))
            for column in range(x.dims[2]):
                of_x, of_y = (_drop(one, column) for one in (x, y))
                add = turn.start + column > 0
                self.products.multiply(_transposed(of_x), of_y, self._kernel, add=add)
        self.products.multiply(self.products.constant(self._w_matrix.T), self._w_values, self._w)

    def _both_ways(
        self, matrices: tuple[Array, Array], source: Array, result: Array, post_ops: PostOps | None = None
    ) -> None:
        """A matrix times the rows, a matrix times the columns of each image (B, H, W, C), channel by channel."""
        (count, height, width, c), (_, rows, columns, _) = source.dims, result.dims
        between = self.products.workspace, self._between
        multiply = self.products.multiply
        done = dense((count, rows, width * c), *between)
        multiply(matrices[0], dense((count, height, width * c), *source[2:]), done)
        flat = (count * rows, columns, c)
        operands = {name: dense((1, 1, c), self._buffers[name]) for name in (post_ops.operands if post_ops else ())}
        if "added" in operands:
            operands["added"] = dense(flat, self._buffers["added"], result.start)
        last = dense((count * rows, width, c), *between), dense(flat, *result[2:])
        multiply(matrices[1], *last, post_ops=post_ops, operands=operands)


def _by_value(values: Array) -> Array:
    """(B, 6 tiles, 6 tiles, C) as (6, 6, tiles in a row, B * tiles in a column, C): matrices, one for each value."""
    count, rows, columns, c = values.dims
    strides = (columns * c, c, VALUES * c, VALUES * columns * c, 1)
    return Array((VALUES, VALUES, columns // VALUES, count * rows // VALUES, c), strides, *values[2:])


def _drop(array: Array, at: int) -> Array:
    """One of the third axis's matrices."""
    dims, strides = ((*axes[:2], *axes[3:]) for axes in (array.dims, array.strides))
    return Array(dims, strides, array.buffer, array.start + at * array.strides[2])


def _transposed(array: Array) -> Array:
    dims, strides = ((*axes[:-2], axes[-1], axes[-2]) for axes in (array.dims, array.strides))
    return Array(dims, strides, array.buffer, array.start)
