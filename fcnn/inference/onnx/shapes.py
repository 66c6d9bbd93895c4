"""Operations of JAX's that move entries, in ONNX: reshapes, slices, concatenations. Each rule takes the graph, the
operation and its operands, and returns its result."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fcnn.inference.onnx.graph import Graph, Unsupported, Value, aligned, channels_first, dimensions, in_order
from fcnn.inference.onnx.operations import Rule, shape_of


def _transpose(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    (value,), permutation = values, op.params["permutation"]
    if isinstance(value.tensor, np.ndarray):
        tensor, axes = value.tensor.transpose(permutation), in_order(permutation)
    else:
        tensor, axes = value.tensor, tuple(permutation.index(axis) for axis in value.axes)
    ones = frozenset(permutation.index(axis) for axis in value.ones)
    return Value(tensor, shape_of(op), axes, ones)


def _broadcast(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    """New axes have one entry in the tensor: ONNX broadcasts it where it meets another array."""
    value, shape, places = values[0], shape_of(op), op.params["broadcast_dimensions"]
    ones = {axis for axis in range(len(shape)) if axis not in places}
    ones |= {places[axis] for axis, size in enumerate(value.sizes) if size == 1}
    ones = frozenset(axis for axis in ones if shape[axis] != 1)
    if isinstance(value.tensor, np.ndarray):
        sizes = [1] * len(shape)
        for axis, place in enumerate(places):
            sizes[place] = value.tensor.shape[axis]
        return Value(value.tensor.reshape(sizes), shape, in_order(shape), ones)
    order = [places[axis] for axis in value.axes]
    for axes in (channels_first(4), in_order(shape)):
        if len(axes) == len(shape) and [axis for axis in axes if axis in places] == order:
            break
    else:
        axes, value = in_order(shape), Value(graph.name(value), value.shape, in_order(value.shape), value.ones)
    new = [position for position, axis in enumerate(axes) if axis not in places]
    name = graph.name(value, value.axes)
    name = graph.node("Unsqueeze", name, graph.ints(new)) if new else name
    return Value(name, shape, axes, ones)


def _reshape(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    if op.params.get("dimensions") is not None:
        raise Unsupported("a reshape that transposes")
    return reshaped(graph, values[0], shape_of(op))


def _squeeze(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    return reshaped(graph, values[0], shape_of(op))


def reshaped(graph: Graph, value: Value, shape: tuple[Any, ...]) -> Value:
    """Reshapes an array: where each axis is split or merged with its neighbors, in the order that the tensor has."""
    value = graph.whole(value)
    if value.shape == shape:
        return value
    groups = _groups(value.shape, shape)

    def long(axes: Sequence[int], sizes: Sequence[Any]) -> list[int]:
        return [axis for axis in axes if sizes[axis] != 1]

    where = {axis: group for group in groups for axis in group[0]}
    order: list[Any] = []
    for axis in long(value.axes, value.shape):
        if where[axis] not in order:
            order.append(where[axis])
    if [axis for group in order for axis in long(group[0], value.shape)] != long(value.axes, value.shape):
        value, order = Value(graph.name(value), value.shape, in_order(value.shape)), []
    order = order + [group for group in groups if group not in order] if order else list(groups)
    axes = tuple(axis for group in order for axis in group[1])
    for better in (channels_first(4), in_order(shape)):  # axes of one entry may lie anywhere
        if len(better) == len(shape) and long(better, shape) == long(axes, shape):
            axes = better
            break
    sizes = [shape[axis] for axis in axes]
    if sum(not isinstance(size, int) for size in sizes) > 1:
        raise Unsupported(f"a reshape to {shape}")
    target = graph.ints([size if isinstance(size, int) else -1 for size in sizes])
    return Value(graph.node("Reshape", graph.name(value, value.axes), target), shape, axes)


def _groups(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The axes that become which axes in a reshape: the smallest groups with as many entries."""
    groups, i, j = [], 0, 0
    while i < len(before) and j < len(after):
        first, second = [i], [j]
        sizes = [before[i], after[j]]
        while sizes[0] != sizes[1]:
            if (sizes[0] < sizes[1] and first[-1] + 1 < len(before)) or second[-1] + 1 == len(after):
                first.append(first[-1] + 1)
                sizes[0] = sizes[0] * before[first[-1]]
            else:
                second.append(second[-1] + 1)
                sizes[1] = sizes[1] * after[second[-1]]
        groups.append((tuple(first), tuple(second)))
        i, j = first[-1] + 1, second[-1] + 1
    if i < len(before) or j < len(after):  # what is left has one entry
        first, second = groups.pop() if groups else ((), ())
        groups.append(((*first, *range(i, len(before))), (*second, *range(j, len(after)))))
    return groups


def _concatenate(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    names, axes = aligned(graph, [graph.whole(value) for value in values])
    return Value(graph.node("Concat", *names, axis=axes.index(op.params["dimension"])), shape_of(op), axes)


def _stack(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    (names, order), axis = aligned(graph, [graph.whole(value) for value in values]), op.params["axis"]
    # The new axis lies right behind the one before it, where a reshape can merge the two.
    place = order.index(axis - 1) + 1 if axis else 0
    parts = [graph.node("Unsqueeze", name, graph.ints([place])) for name in names]
    axes = [old + (old >= axis) for old in order]
    axes.insert(place, axis)
    return Value(graph.node("Concat", *parts, axis=place), shape_of(op), tuple(axes))


def _split(graph: Graph, op: Any, values: Sequence[Value]) -> list[Value]:
    value = graph.whole(values[0])
    axis, sizes = value.axes.index(op.params["axis"]), dimensions(op.params["sizes"])
    names = graph.node("Split", graph.name(value, value.axes), graph.ints(sizes), outputs=len(sizes), axis=axis)
    names = [names] if isinstance(names, str) else names
    return [Value(name, dimensions(out.aval.shape), value.axes) for name, out in zip(names, op.outvars, strict=True)]


def _slice(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    value, shape = graph.whole(values[0]), values[0].shape
    start, limit = op.params["start_indices"], op.params["limit_indices"]
    steps = op.params["strides"] or (1,) * len(shape)
    cut = [a for a in range(len(shape)) if start[a] != 0 or limit[a] != shape[a] or steps[a] != 1]
    return Value(_cut(graph, value, {a: (start[a], limit[a], steps[a]) for a in cut}), shape_of(op), value.axes)


def _cut(graph: Graph, value: Value, bounds: Mapping[int, tuple[int, int, int]]) -> str:
    """Slices axes of the array: (first entry, the one after the last, step)."""
    if not all(isinstance(number, numbers.Integral) for bound in bounds.values() for number in bound):
        raise Unsupported("a slice along the images")
    starts, ends, steps = (graph.ints([int(bound[i]) for bound in bounds.values()]) for i in range(3))
    places = graph.ints([value.axes.index(axis) for axis in bounds])
    return graph.node("Slice", graph.name(value, value.axes), starts, ends, places, steps)


def _reverse(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    value = graph.whole(values[0])
    backwards = dict.fromkeys(op.params["dimensions"], (-1, -(2**31), -1))
    return Value(_cut(graph, value, backwards), value.shape, value.axes)


def _gather(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    """What `x[:, 1:3, ::2]` is where the number of images is open: entries whose places are known."""
    value, indices = graph.whole(values[0]), values[1].tensor
    layout, sizes = op.params["dimension_numbers"], list(dimensions(op.params["slice_sizes"]))
    if not isinstance(indices, np.ndarray) or layout.operand_batching_dims:
        raise Unsupported("indexing by what is computed from the images")
    bounds, looked_up = _places(layout, indices, value.shape, sizes)
    name = _cut(graph, value, bounds) if bounds else graph.name(value, value.axes)
    for axis, places in looked_up.values():
        name, sizes[axis] = (
            graph.node("Gather", name, graph.ints(places.tolist()), axis=value.axes.index(axis)),
            len(places),
        )
    order = _gathered_order(layout, looked_up, len(shape_of(op)), len(sizes))
    part = Value(name, tuple(sizes[axis] for axis in order), tuple(map(order.index, value.axes)))
    return reshaped(graph, part, shape_of(op))


def _places(
    layout: Any, indices: np.ndarray, shape: Sequence[Any], sizes: Sequence[int]
) -> tuple[dict[int, tuple[int, int, int]], dict[int, tuple[int, np.ndarray]]]:
    """What is sliced of which axes, and for each axis of the indices which axis of the array it looks up, and where."""
    bounds = {axis: (0, size, 1) for axis, size in enumerate(sizes) if size != shape[axis]}
    looked_up: dict[int, tuple[int, np.ndarray]] = {}
    long = [axis for axis, size in enumerate(indices.shape[:-1]) if size > 1]
    for axis, places in zip(layout.start_index_map, np.moveaxis(indices, -1, 0), strict=True):
        if isinstance(shape[axis], int) and ((places < 0).any() or (places > shape[axis] - sizes[axis]).any()):
            raise Unsupported("indexing beyond the ends of an array")
        along = [one for one in long if one not in looked_up and _is_along(places, one)]
        if (places == places.flat[0]).all():
            bounds[axis] = (places.flat[0], places.flat[0] + sizes[axis], 1)
        elif along and axis in layout.collapsed_slice_dims:
            rows = np.moveaxis(places, along[0], 0).reshape(places.shape[along[0]], -1)[:, 0]
            looked_up[along[0]] = axis, rows
            bounds.pop(axis, None)
        else:
            raise Unsupported("indexing by arrays that are no grid")
    fixed = [axis for axis in bounds if axis in layout.collapsed_slice_dims]
    for one in long:
        if one not in looked_up:  # the same entry several times
            if not fixed:
                raise Unsupported("indexing by arrays that are no grid")
            axis = fixed.pop(0)
            looked_up[one] = axis, np.full(indices.shape[one], bounds.pop(axis)[0])
    return bounds, looked_up


def _is_along(places: np.ndarray, axis: int) -> bool:
    """Whether an array changes along no axis but one."""
    others = tuple(other for other in range(places.ndim) if other != axis)
    return bool((places.min(others) == places.max(others)).all())


def _gathered_order(layout: Any, looked_up: Mapping[int, tuple[int, Any]], rank: int, operand_rank: int) -> list[int]:
    """The operand's axes in the order that the result has them: those that were kept in their places, and in order
    between them those of the lookup; those of one entry that are gone come last."""
    kept = iter(axis for axis in range(operand_rank) if axis not in layout.collapsed_slice_dims)
    others = iter(looked_up.get(d, (None,))[0] for d in range(rank - len(layout.offset_dims)))
    axes = [next(kept) if axis in layout.offset_dims else next(others) for axis in range(rank)]
    order = [axis for axis in axes if axis is not None]
    return order + [axis for axis in range(operand_rank) if axis not in order]


def _pad(graph: Graph, op: Any, values: Sequence[Value]) -> Value:
    value, filled = graph.whole(values[0]), values[1]
    pairs = [op.params["padding_config"][axis] for axis in value.axes]
    if any(interior for _, _, interior in pairs):
        raise Unsupported("padding between entries")
    pads = graph.ints([low for low, _, _ in pairs] + [high for _, high, _ in pairs])  # negative ones crop
    return Value(graph.node("Pad", graph.name(value, value.axes), pads, graph.name(filled)), shape_of(op), value.axes)


RULES: dict[str, Rule] = {
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "slice": _slice,
    "gather": _gather,
    "rev": _reverse,
    "pad": _pad,
}
