"""Convolutions and poolings in ONNX."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnn.inference.onnx.graph import Graph, Unsupported, Value, channels_first
from fcnn.inference.onnx.operations import Rule, shape_of
from fcnn.nn.geometry import Windows
from fcnn.nn.pool_by_lax import window_sizes


def _convolution(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    (x, kernel), params = map(graph.whole, values), op.params
    if any(step != 1 for step in params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise Unsupported("a transposed convolution")
    numbers = params["dimension_numbers"]
    pairs = params["padding"]
    if any(low < 0 or high < 0 for low, high in pairs):
        raise Unsupported("a convolution with negative padding")
    name = graph.node(
        "Conv",
        graph.name(x, tuple(numbers.lhs_spec)),
        graph.name(kernel, tuple(numbers.rhs_spec)),
        kernel_shape=[kernel.shape[axis] for axis in numbers.rhs_spec[2:]],
        strides=list(params["window_strides"]),
        pads=_pads(pairs),
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return Value(name, shape_of(op), tuple(numbers.out_spec))


def _pads(pairs: Sequence[tuple[int, int]]) -> list[int]:
    return [int(low) for low, _ in pairs] + [int(high) for _, high in pairs]


def _max_pool(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    windows: Windows = op.params["windows"]
    return _pool("MaxPool", graph, op, values, windows, _all_padding(windows, values[0].shape))


def _avg_pool(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    windows: Windows = op.params["windows"]
    shape = (1, *values[0].shape[1:])
    pairs, padded = _all_padding(windows, shape), op.params["count_include_pad"]
    sizes, whole = window_sizes(shape, windows, padded), math.prod(windows.kernel)
    result = _pool("AveragePool", graph, op, values, windows, pairs, count_include_pad=int(padded))
    if not padded or (sizes == whole).all():
        return result
    factor = graph.constant((whole / sizes).astype(np.float32)[None, None])  # windows that are smaller at the border
    return Value(graph.node("Mul", str(result.tensor), factor), result.shape, result.axes)


def _all_padding(windows: Windows, shape: Sequence[int]) -> list[tuple[int, int]]:
    """The padding with what the last window of ceil_mode has beyond it; negative where windows leave entries out."""
    axes = zip(shape[1:-1], windows.kernel, windows.stride, windows.padding, windows.output, strict=True)
    return [(low, max((o - 1) * s + k - size - low, 0)) for size, k, s, (low, _), o in axes]


def _pool(
    kind: str, graph: Graph, op: Any, values: Sequence[Value], windows: Windows, pairs: Any, **attributes: Any
) -> Value:
    x, axes = graph.whole(values[0]), channels_first(len(values[0].shape))
    attributes |= {"kernel_shape": list(windows.kernel), "strides": list(windows.stride), "pads": _pads(pairs)}
    return Value(graph.node(kind, graph.name(x, axes), **attributes), shape_of(op), axes)


def _reduce_window(kind: str) -> Rule:
    """Of Flax's poolings, which reduce windows over the spatial axes of (B, ..., C)."""

    def rule(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
        params, rank = op.params, len(values[0].shape)
        window, stride, pairs = params["window_dimensions"], params["window_strides"], params["padding"]
        ends = [window[axis] == stride[axis] == 1 and not any(pairs[axis]) for axis in (0, rank - 1)]
        dilated = [*params["base_dilation"], *params["window_dilation"]]
        if not 3 <= rank <= 5 or not all(ends) or any(step != 1 for step in dilated):
            raise Unsupported("a pooling that is dilated, or not over the spatial axes")
        if any(not 0 <= each < size for pair, size in zip(pairs, window, strict=True) for each in pair):
            raise Unsupported("a pooling with windows in the padding alone")
        inside = slice(1, rank - 1)
        windows = Windows(window[inside], stride[inside], (1,) * (rank - 2), pairs[inside], ())
        extra = {"count_include_pad": 1} if kind == "AveragePool" else {}
        result = _pool(kind, graph, op, values, windows, pairs[inside], **extra)
        if kind == "MaxPool":
            return result
        count = graph.constant(np.float32(math.prod(window)))
        return Value(graph.node("Mul", str(result.tensor), count), result.shape, result.axes)

    return rule


RULES: dict[str, Rule] = {
    "conv_general_dilated": _convolution,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "reduce_window_max": _reduce_window("MaxPool"),
    "reduce_window_sum": _reduce_window("AveragePool"),
}
