"""JAX's operations in ONNX: elementwise ones, sums and products. Each rule takes the graph, the operation and its
operands, and returns its result; `shapes.py` and `windows.py` have the others."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import helper

from fcnn.inference.onnx.graph import ERFC, Graph, Unsupported, Value, aligned, channels_first, dimensions, in_order

Rule = Callable[[Graph, Any, Sequence[Value]], Value | list[Value]]


def shape_of(op: Any) -> tuple[Any, ...]:
    """The shape of an operation's first result."""
    return dimensions(op.outvars[0].aval.shape)


def elementwise(function: str | Callable[..., str]) -> Callable[[Graph, Any, Sequence[Value]], Value]:
    """The rule of an operation entry by entry: ONNX's, or a function of the graph and the operands' tensors."""

    def rule(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
        (names, axes), shape = aligned(graph, values), shape_of(op)
        name = graph.node(function, *names) if isinstance(function, str) else function(graph, *names)
        single = [{axis for axis, size in enumerate(value.sizes) if size == 1} for value in values if value.shape]
        ones = frozenset.intersection(*map(frozenset, single)) if single else ()
        return Value(name, shape, axes, frozenset(axis for axis in ones if shape[axis] != 1))

    return rule


def _number(graph: Graph, name: str) -> float | None:
    """The float that a constant of one entry is."""
    array = graph.constants.get(name)
    return array.item() if array is not None and array.size == 1 and array.dtype.kind == "f" else None


def _with_number(graph: Graph, a: str, b: str) -> tuple[str, float | None]:
    """Of two operands the one that is no number, and the number."""
    if (number := _number(graph, b)) is not None:
        return a, number
    return b, _number(graph, a)


def _maximum(graph: Graph, a: str, b: str) -> str:
    x, number = _with_number(graph, a, b)
    return graph.node("Relu", x) if number == 0 else graph.node("Max", a, b)


def _minimum(graph: Graph, a: str, b: str) -> str:
    x, number = _with_number(graph, a, b)
    made = graph.made_by.get(x)
    if number is None or made is None or made.op_type != "Relu":
        return graph.node("Min", a, b)
    return graph.node("Clip", made.input[0], graph.constant(np.float32(0)), graph.constant(np.float32(number)))


def _divide(graph: Graph, a: str, b: str) -> str:
    number, made = _number(graph, b), graph.made_by.get(a)
    if made is None or number is None:
        return graph.node("Div", a, b)
    if made.op_type == "ReduceSum" and made.name in graph.sums and graph.sums[made.name][1] == number:
        attributes, _ = graph.sums[made.name]
        return graph.node("ReduceMean", made.input[0], **attributes)
    if made.op_type == "Clip" and number == 6 and [_number(graph, name) for name in made.input[1:]] == [0, 6]:
        shifted = graph.made_by.get(made.input[0])
        if shifted is not None and shifted.op_type == "Add":
            x, three = _with_number(graph, *shifted.input)
            if three == 3:
                return graph.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    return graph.node("Div", a, b)


def _multiply(graph: Graph, a: str, b: str) -> str:
    for x, gate in ((a, b), (b, a)):
        made = graph.made_by.get(gate)
        if made is not None and made.op_type == "HardSigmoid" and made.input[0] == x:
            return graph.node("HardSwish", x)
        if (y := _gelu(graph, x, gate)) is not None:
            return y
    return graph.node("Mul", a, b)


def _gelu(graph: Graph, half: str, erfc: str) -> str | None:
    """x / 2 erfc(-x / sqrt(2)) as x (erf(x / sqrt(2)) + 1) / 2, which engines know; None for another product."""
    made, tail = graph.made_by.get(half), graph.made_by.get(erfc)
    if made is None or made.op_type != "Mul" or tail is None or tail.op_type != ERFC:
        return None
    (x, number), scaled = _with_number(graph, *made.input), graph.made_by.get(tail.input[0])
    if number != 0.5 or scaled is None or scaled.op_type != "Mul":
        return None
    (negative, factor), root = _with_number(graph, *scaled.input), np.float32(math.sqrt(2))
    minus = graph.made_by.get(negative)
    if minus is None or (minus.op_type, minus.input[0]) != ("Neg", x) or abs((factor or 0) * root - 1) > 1e-3:
        return None
    erf = graph.node("Erf", graph.node("Div", x, graph.constant(root)))
    return graph.node("Mul", graph.node("Mul", x, _plus_one(graph, erf)), graph.constant(np.float32(0.5)))


def _plus_one(graph: Graph, x: str) -> str:
    return graph.node("Add", x, graph.constant(np.float32(1)))


def _add(graph: Graph, a: str, b: str) -> str:
    for x, bias in ((a, b), (b, a)):
        made, shift = graph.made_by.get(x), graph.constants.get(bias)
        if made is None or shift is None:
            continue
        if graph.channels.get(x) != shift.size or not by_channel(shift):
            continue
        if made.op_type == "Conv" and len(made.input) == 2:
            node = graph.node("Conv", *made.input, graph.constant(shift.reshape(-1)))
            graph.made_by[node].attribute.extend(made.attribute)
            return node
        if (y := _batch_norm(graph, made, shift)) is not None:
            return y
    return graph.node("Add", a, b)


def by_channel(array: np.ndarray | None) -> bool:
    """Whether a constant has one number a channel, for tensors (B, C, H, W)."""
    return array is not None and array.ndim == 4 and 1 < array.size == array.shape[1]


def _batch_norm(graph: Graph, scaled: Any, shift: np.ndarray) -> str | None:
    """(x - mean) * factor + shift as one operation; None for another sum."""
    for part, factor in (tuple(scaled.input), tuple(scaled.input)[::-1]) if scaled.op_type == "Mul" else ():
        centered = graph.made_by.get(part)
        if centered is None or centered.op_type != "Sub":
            continue
        vectors = [graph.constants.get(factor), shift, graph.constants.get(centered.input[1])]
        if all(map(by_channel, vectors)) and graph.channels.get(centered.input[0]) == shift.size:
            named = [graph.constant(np.ravel(vector)) for vector in vectors]
            one = graph.constant(np.ones(shift.size, np.float32))
            return graph.node("BatchNormalization", centered.input[0], *named, one, epsilon=0.0)
    return None


def _power(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    exponent = Value(np.asarray(op.params["y"], np.float32), (), ())
    return elementwise("Pow")(graph, op, [*values, exponent])


def _select(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    if op.invars[0].aval.dtype != np.bool_:
        raise Unsupported("select_n by a number")
    which, no, yes = values
    return elementwise("Where")(graph, op, [which, yes, no])


def _logical(kind: str) -> Rule:
    """The rule of an operation that ONNX has for truth values alone."""

    def rule(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
        if op.invars[0].aval.dtype != np.bool_:
            raise Unsupported(f"the operation {op.primitive.name} of integers")
        return elementwise(kind)(graph, op, values)

    return rule


def _cast(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    (value,) = values
    target = graph.dtype if np.issubdtype(op.params["new_dtype"], np.floating) else np.dtype(op.params["new_dtype"])
    source = op.invars[0].aval.dtype
    if np.issubdtype(source, np.floating) and target == graph.dtype:
        return value
    name = graph.node("Cast", graph.name(value, value.axes), to=helper.np_dtype_to_tensor_dtype(target))
    return Value(name, value.shape, value.axes, value.ones)


def _identity(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    return values[0]


def _reduce(kind: str) -> Rule:
    def rule(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
        value, axes = graph.whole(values[0]), op.params["axes"]
        if not axes:
            return value
        name = graph.name(value, value.axes)
        places = sorted(value.axes.index(axis) for axis in axes)
        left = [axis for axis in range(len(value.shape)) if axis not in axes]
        order = tuple(left.index(axis) for axis in value.axes if axis not in axes)
        if kind == "ReduceSum":
            result = graph.node(kind, name, graph.ints(places), keepdims=0)
            sizes = [value.shape[axis] for axis in axes]
            if all(isinstance(size, int) for size in sizes):
                graph.sums[result] = ({"axes": places, "keepdims": 0}, math.prod(sizes))
        else:
            result = graph.node(kind, name, axes=places, keepdims=0)
        return Value(result, shape_of(op), order)

    return rule


def _dot_general(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    ((left, right), (left_batch, right_batch)), (a, b) = op.params["dimension_numbers"], map(graph.whole, values)
    dense = not left_batch and len(left) == 1 and left[0] == len(a.shape) - 1 and right == (0,) and len(b.shape) == 2
    if dense and b.is_constant and a.axes == channels_first(4):
        kernel = graph.constant(np.asarray(b.tensor).T.reshape(-1, b.shape[0], 1, 1))  # a 1x1 convolution
        return Value(graph.node("Conv", str(a.tensor), kernel, kernel_shape=[1, 1]), shape_of(op), a.axes)
    if dense:
        return Value(graph.node("MatMul", graph.name(a), graph.name(b)), shape_of(op), in_order(shape_of(op)))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in a.shape]
    second = [next(letters) for _ in b.shape]
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        second[j] = first[i]
    result = [first[i] for i in left_batch]
    result += [letter for i, letter in enumerate(first) if i not in (*left, *left_batch)]
    result += [letter for j, letter in enumerate(second) if j not in (*right, *right_batch)]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    name = graph.node("Einsum", graph.name(a), graph.name(b), equation=equation)
    return Value(name, shape_of(op), in_order(shape_of(op)))


def _equal_not(graph: Graph, a: str, b: str) -> str:
    return graph.node("Not", graph.node("Equal", a, b))


def _square(graph: Graph, x: str) -> str:
    return graph.node("Mul", x, x)


def _rsqrt(graph: Graph, x: str) -> str:
    return graph.node("Reciprocal", graph.node("Sqrt", x))


def _expm1(graph: Graph, x: str) -> str:
    """tanh(x / 2) (exp(x) + 1), which keeps its digits where x is small."""
    half = graph.node("Tanh", graph.node("Mul", x, graph.constant(np.float32(0.5))))
    return graph.node("Mul", half, _plus_one(graph, graph.node("Exp", x)))


def _log1p(graph: Graph, x: str) -> str:
    """log(u) x / (u - 1) with u = x + 1 rounded, or x where u is 1: the error of u cancels out."""
    one, u = graph.constant(np.float32(1)), _plus_one(graph, x)
    ratio = graph.node("Div", graph.node("Mul", graph.node("Log", u), x), graph.node("Sub", u, one))
    return graph.node("Where", graph.node("Equal", u, one), x, ratio)


def _clamp(graph: Graph, low: str, x: str, high: str) -> str:
    return graph.node("Min", graph.node("Max", x, low), high)


ELEMENTWISE: dict[str, str | Callable[..., str]] = {
    "sub": "Sub", "neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "sqrt": "Sqrt",
    "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "erf": "Erf", "pow": "Pow", "gt": "Greater",
    "lt": "Less", "ge": "GreaterOrEqual", "le": "LessOrEqual", "eq": "Equal", "sin": "Sin",
    "cos": "Cos", "erfc": ERFC,
    "max": _maximum, "min": _minimum, "div": _divide, "mul": _multiply, "add": _add,
    "ne": _equal_not, "square": _square, "rsqrt": _rsqrt, "log1p": _log1p, "expm1": _expm1, "clamp": _clamp,
}  # fmt: skip
REDUCED = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd"}
RULES: dict[str, Rule] = {
    **{name: elementwise(function) for name, function in ELEMENTWISE.items()},
    **{name: _reduce(kind) for name, kind in REDUCED.items()},
    **{name: _logical(kind) for name, kind in {"or": "Or", "and": "And", "not": "Not"}.items()},
    **dict.fromkeys(("name", "copy", "stop_gradient"), _identity),
    "integer_pow": _power,
    "select_n": _select,
    "convert_element_type": _cast,
    "dot_general": _dot_general,
}
