"""Winograd's algorithm by oneDNN, whose versions 3 have no implementation of their own: as products of matrices."""

import functools
import math
from typing import NamedTuple

import numpy as np

from fcnn.nn.onednn.convolution_plan import OPERANDS, Geometry, Name
from fcnn.nn.onednn.ending import Ending
from fcnn.nn.onednn.library import load
from fcnn.nn.onednn.plan import Plan
from fcnn.nn.onednn.products import Array, Products, dense
from fcnn.nn.onednn.winograd import TAPS, VALUES, input_matrix, output_matrix, tiles, weights_matrix

_LARGEST = 4 << 20
"""Of about how many numbers the values of a turn's images are: what is written is read again while it's near."""


@functools.cache
def winograd_plan(want: Name, geometry: Geometry, ending: Ending | None = None) -> Plan:
    """The plan of a convolution that `winograd.suits`, with the buffers of `convolution_plan`.

    Raises:
      Failed: oneDNN has only a slow implementation.
      Unavailable: there is no oneDNN here.
    """
    names = [*OPERANDS[want], *(ending.operands if ending else ()), want]
    composed = _Composition(geometry, {name: at for at, name in enumerate(names)})
    if want == "w":
        composed.gradient_by_kernel()
    else:
        composed.images(want, ending)
    found = composed.products
    return Plan(load(), found.arrays, found.steps, found.workspace_bytes, found.constants)


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
        self.products = Products(load(), workspace, self._between + count * widest * max(c, o))
        self._x = self._side(geometry.x, buffers["x"], [input_matrix(*end) for end in ends], of_x)
        self._y = self._side(geometry.y, buffers["y"], [output_matrix(*end).T for end in ends], of_y)
        self._buffers, self._w = buffers, dense((TAPS**2, c * o), buffers["w"])
        self._w_values = dense((VALUES**2, c * o), *self._kernel[2:])
        self._w_matrix = np.kron(weights_matrix(), weights_matrix())

    def _side(self, shape: tuple[int, ...], buffer: int, matrices: list[np.ndarray], values: Array) -> _Side:
        rows, columns = (self.products.constant(matrix[None]) for matrix in matrices)
        back = tuple(self.products.constant(matrix.T[None]) for matrix in matrices)
        return _Side(shape, buffer, (rows, columns), (back[0], back[1]), values)

    def images(self, want: Name, ending: Ending | None) -> None:
        """The convolution; or the gradient by x, which is the way back through the transposed matrices."""
        source, result = (self._x, self._y) if want == "y" else (self._y, self._x)
        kernel = dense((VALUES, VALUES, 1, *self._kernel.dims[2:]), *self._kernel[2:])
        by = kernel if want == "y" else _transposed(kernel)
        self.products.multiply(self.products.constant(self._w_matrix), self._w, self._w_values)
        for turn in self._turns:
            values, results = source.values_of(turn), result.values_of(turn)
            self._both_ways(source.matrices, source.part(turn), values)
            self.products.multiply(_by_value(values), by, _by_value(results))
            self._both_ways(result.back, results, result.part(turn), ending)

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
        self, matrices: tuple[Array, Array], source: Array, result: Array, ending: Ending | None = None
    ) -> None:
        """A matrix times the rows, a matrix times the columns of each image (B, H, W, C), channel by channel."""
        (count, height, width, c), (_, rows, columns, _) = source.dims, result.dims
        between = self.products.workspace, self._between
        multiply = self.products.multiply
        done = dense((count, rows, width * c), *between)
        multiply(matrices[0], dense((count, height, width * c), *source[2:]), done)
        flat = (count * rows, columns, c)
        operands = {name: dense((1, 1, c), self._buffers[name]) for name in (ending.operands if ending else ())}
        if "added" in operands:
            operands["added"] = dense(flat, self._buffers["added"], result.start)
        last = dense((count * rows, width, c), *between), dense(flat, *result[2:])
        multiply(matrices[1], *last, ending=(ending, operands) if ending else None)


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
