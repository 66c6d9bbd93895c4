"""An ONNX graph that is being built, and how the axes of its tensors lie.

JAX's images are (B, H, W, C), ONNX's convolutions take (B, C, H, W). So each value knows which of its axes are where,
and is transposed only where an operation needs another order: in a CNN hardly ever.
"""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
"""The oldest that goes with the opset, so that older engines open the file."""
BATCH = "batch"
"""The name of the axis that is open."""
FLOAT16 = (1e-7, 65504)
"""The smallest and the largest number that a float16 constant is: an epsilon must not become 0."""
ERFC = "Erfc"
"""A node that ONNX doesn't have, to become part of GELU: of large numbers, 1 - Erf has no digit left."""


class Unsupported(Exception):
    """What has no counterpart in ONNX, or none here."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of the graph, and which array of JAX's it is."""

    tensor: "str | np.ndarray"
    """The tensor's name, or a constant with JAX's order of axes."""
    shape: tuple[Any, ...]
    """Of JAX's array; dimensions may be symbolic."""
    axes: tuple[int, ...]
    """Axis i of the tensor is axis `axes[i]` of the array; in order for a constant."""
    ones: frozenset[int] = frozenset()
    """Axes of the array along which the tensor has one entry, to be broadcast."""

    @property
    def is_constant(self) -> bool:
        """Whether it is known."""
        return isinstance(self.tensor, np.ndarray)

    @property
    def sizes(self) -> tuple[Any, ...]:
        """The tensor's dimensions, in the array's order."""
        return tuple(1 if axis in self.ones else size for axis, size in enumerate(self.shape))


def dimensions(shape: Sequence[Any]) -> tuple[Any, ...]:
    """A shape whose known dimensions are ints."""
    return tuple(int(size) if isinstance(size, numbers.Integral) else size for size in shape)


def in_order(shape: Sequence[Any]) -> tuple[int, ...]:
    """The axes of an array whose tensor has its order."""
    return tuple(range(len(shape)))


def channels_first(rank: int) -> tuple[int, ...]:
    """The axes of images (B, ..., C) whose tensor is (B, C, ...)."""
    return (0, rank - 1, *range(1, rank - 1))


class Graph:
    """Nodes and constants so far.

    Args:
      dtype: of its floating tensors, float32 or float16.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.made_by: dict[str, onnx.NodeProto] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.sums: dict[str, tuple[dict[str, Any], int]] = {}
        """Sums over axes: how a mean is taken of the same, and of how many entries."""
        self.channels: dict[str, int] = {}
        """How many entries tensors of four axes have along their second, as far as that is known."""
        self._small: dict[Any, str] = {}

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or a list of several."""
        names = [f"{kind.lower()}_{len(self.nodes)}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        node = helper.make_node(kind, inputs, names, name=names[0], **attributes)
        self.nodes.append(node)
        self.made_by |= dict.fromkeys(names, node)
        return names if outputs > 1 else names[0]

    def constant(self, array: Any) -> str:
        """Adds a constant, whose floats the model has in the graph's type; small ones that are equal are kept once."""
        array = np.asarray(array)
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (str(array.dtype), array.shape, array.tobytes() if array.nbytes <= 64 else len(self.constants))
        if key not in self._small:
            self._small[key] = f"constant_{len(self.constants)}"
            self.constants[self._small[key]] = array
        return self._small[key]

    def single(self, array: Any) -> str:
        """Adds a constant of float32, whatever the graph's type."""
        name = f"single_{len(self.constants)}"
        self.constants[name] = np.asarray(array, np.float32)
        return name

    def ints(self, values: Sequence[int]) -> str:
        """Adds a constant of int64."""
        return self.constant(np.asarray(values, np.int64))

    def name(self, value: Value, axes: tuple[int, ...] | None = None) -> str:
        """The tensor's name, with its axes in this order, by default in JAX's."""
        axes = in_order(value.shape) if axes is None else axes
        if isinstance(value.tensor, np.ndarray):
            return self.constant(value.tensor.transpose(axes) if value.tensor.ndim else value.tensor)
        if value.axes == axes:
            return value.tensor
        return self.node("Transpose", value.tensor, perm=[value.axes.index(axis) for axis in axes])

    def whole(self, value: Value) -> Value:
        """The value with a tensor that has all of its entries."""
        if not value.ones:
            return value
        axes = in_order(value.shape) if value.is_constant else value.axes
        sizes = [value.shape[axis] if axis in value.ones else 1 for axis in axes]
        if all(isinstance(size, int) for size in sizes):
            shape = self.ints(sizes)
        else:
            parts = [self.ints([size]) if isinstance(size, int) else self.batch(size) for size in sizes]
            shape = self.node("Concat", *parts, axis=0)
        return Value(self.node("Expand", self.name(value, axes), shape), value.shape, axes)

    def batch(self, size: Any) -> str:
        """The number of images, as a tensor of one number; Unsupported for a multiple of it."""
        if str(size) != BATCH:
            raise Unsupported(f"a broadcast to {size} entries")
        return self.node("Slice", self.node("Shape", "images"), self.ints([0]), self.ints([1]))

    def known(self, name: str) -> np.ndarray | None:
        """The constant of this name; None if it isn't one."""
        return self.constants.get(name)

    def _tensor(self, name: str) -> onnx.TensorProto:
        array = self.constants[name]
        if array.dtype.kind == "f" and not name.startswith("single"):
            if self.dtype == np.float16 and array.size == 1 and np.isfinite(array).all() and array.any():
                array = np.copysign(np.clip(np.abs(array), *FLOAT16), array)
            with np.errstate(over="ignore"):
                array = array.astype(self.dtype)
        return numpy_helper.from_array(array, name)

    def model(self, inputs: Sequence[Any], outputs: Sequence[tuple[str, str, list[Any]]]) -> onnx.ModelProto:
        """The graph as a model, without nodes and constants that nothing needs.

        Args:
          inputs: onnx's descriptions.
          outputs: the tensor, what it is called in the model, its shape; each is float32.
        """
        renamed = {name: called for name, called, _ in outputs}
        needed, nodes = set(renamed), []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.append(node)
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = [renamed.get(name, name) for name in names]
        if any(node.op_type == ERFC for node in nodes):
            raise Unsupported("the operation erfc outside of GELU")
        constants = [self._tensor(name) for name in self.constants if name in needed]
        results = [helper.make_tensor_value_info(called, TensorProto.FLOAT, shape) for _, called, shape in outputs]
        graph = helper.make_graph(nodes[::-1], "network", list(inputs), results, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fcnn")


def aligned(graph: "Graph", values: Sequence[Value]) -> tuple[list[str], tuple[int, ...]]:
    """The tensors of operands with their axes in one order, that of the operand with the most entries, and the order.
    Scalars have none."""
    arrays = [value for value in values if value.shape]
    if not arrays:
        return [graph.name(value) for value in values], ()
    leader = max(arrays, key=lambda v: (not v.is_constant, -v.sizes.count(1), v.axes != in_order(v.shape)))
    return [graph.name(value, leader.axes if value.shape else ()) for value in values], leader.axes
