"""What a program says about a network: its work, and how much of the image each activation sees.

The program that JAX traces is walked once, operation by operation, so that no architecture has to describe itself.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.extend import core

from fcnn.nn.onednn.convolution import by_lax, convolution_p, fused_convolution_p, one_by_one
from fcnn.nn.pool import avg_pool_p, max_pool_p
from fcnn.nn.pool_by_lax import avg_pool_by_lax, max_pool_by_lax

Pair = tuple[int, int]
_IN_PARTS = {
    convolution_p: by_lax,
    fused_convolution_p: one_by_one,
    max_pool_p: max_pool_by_lax,
    avg_pool_p: avg_pool_by_lax,
}


@dataclasses.dataclass(frozen=True)
class View:
    """What an activation's entry (i, j) depends on: along each axis the pixels from `low + i * step` to `high + i *
    step`, those of the padding included."""

    low: Pair = (0, 0)
    high: Pair = (0, 0)
    step: Pair = (1, 1)

    def windows(self, first: Pair, last: Pair, stride: Pair) -> "View":
        """The view of a layer whose output 0 reads this activation's entries `first` to `last`, and each further output
        those `stride` entries on."""
        (top, left), (bottom, right), (down, across) = self.low, self.high, self.step
        return View(
            (top + int(first[0]) * down, left + int(first[1]) * across),
            (bottom + int(last[0]) * down, right + int(last[1]) * across),
            (int(stride[0]) * down, int(stride[1]) * across),
        )


@dataclasses.dataclass(frozen=True)
class Everything:
    """The view of what depends on the whole image."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """A named activation: what was computed since the one before it, and what it sees."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    multiply_adds: int
    view: View | Everything


def walk(function: Callable[[Any, Any], Any], variables: Any, images: jax.ShapeDtypeStruct) -> list[Mark]:
    """Follows the images through `function(variables, images)`; a mark for each `checkpoint_name` that they pass.

    Args:
      variables: a tree of arrays or of their shapes.
      images: (B, H, W, C).
    """
    program = jax.make_jaxpr(function)(variables, images).jaxpr
    walker = _Walker()
    walker.run(program, [None] * (len(program.invars) - 1) + [View()])
    return walker.marks


def without_hook(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """For `nn.intercept_methods`: gives each convolution and dense layer back to Linen; what follows stays a layer of
    its own."""
    for kind, hook in ((nn.Conv, "conv_general_dilated"), (nn.Dense, "dot_general")):
        if isinstance(context.module, kind):
            object.__setattr__(context.module, hook, None)
    return call(*args, **kwargs)


class _Walker:
    """The walk's state: the marks so far and the multiply-adds since the last one. The view None is that of what
    doesn't depend on the images."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self.work = 0

    def run(self, program: Any, inputs: list[Any]) -> list[Any]:
        """Every operation of a program that its results or its names need, in order, from its inputs' views to its
        results'."""
        views = dict(zip(program.invars, inputs, strict=True))
        for op in _needed(program):
            known = [None if isinstance(v, core.Literal) else views.get(v) for v in op.invars]
            inner = _inner(op)
            if inner is not None:
                results = self.run(inner, known[len(known) - len(inner.invars) :])
            else:
                results = [self.apply(op, known)] * len(op.outvars)
            views.update(zip(op.outvars, results, strict=True))
        return [None if isinstance(v, core.Literal) else views.get(v) for v in program.outvars]

    def apply(self, op: Any, inputs: list[Any]) -> View | Everything | None:
        """The view of one operation's result. Its work is counted; if it is a name, it is noted down."""
        known = [view for view in inputs if view is not None]
        if not known:
            return None
        kind, out = op.primitive.name, op.outvars[0].aval
        self.work += multiply_adds(op)
        view = _union(known)
        if kind == "name":
            size = math.prod(out.shape) * int(out.dtype.itemsize)
            self.marks.append(Mark(op.params["name"], out.shape, size, self.work, view))
            self.work = 0
        if isinstance(view, Everything):
            return view
        if kind in WINDOWS:
            return view.windows(*WINDOWS[kind](op))
        # Whatever else keeps the two spatial axes, with any axes for channels, works position by position; the rest
        # sees everything.
        sizes = {v.aval.shape[1:3] for v, i in zip(op.invars, inputs, strict=True) if i is not None}
        keeps = out.ndim >= 3 and sizes == {out.shape[1:3]} and not {1, 2} & {*op.params.get("axes", ())}
        return view if keeps else Everything()


def multiply_adds(op: Any) -> int:
    """Of a convolution or a matrix product; other operations count as none, as is the custom."""
    shapes, out = [v.aval.shape for v in op.invars], op.outvars[0].aval.shape
    if op.primitive.name == "conv_general_dilated":
        return math.prod(out) * math.prod(shapes[1]) // shapes[1][op.params["dimension_numbers"].rhs_spec[0]]
    if op.primitive.name == "dot_general":
        (contracted, _), _ = op.params["dimension_numbers"]
        return math.prod(out) * math.prod(shapes[0][axis] for axis in contracted)
    return 0


def _conv(op: Any) -> tuple[Pair, Pair, Pair]:
    params = op.params
    kernel = [op.invars[1].aval.shape[axis] for axis in params["dimension_numbers"].rhs_spec[2:]]
    first = tuple(-low for low, _ in params["padding"])
    reach = [d * (k - 1) for d, k in zip(params["rhs_dilation"], kernel, strict=True)]
    last = tuple(f + r for f, r in zip(first, reach, strict=True))
    return first, last, params["window_strides"]  # pyright: ignore[reportReturnType]  # two axes


def _reduce_window(op: Any) -> tuple[Pair, Pair, Pair]:
    params = op.params
    first = tuple(-low for low, _ in params["padding"][1:3])
    last = tuple(f + k - 1 for f, k in zip(first, params["window_dimensions"][1:3], strict=True))
    return first, last, params["window_strides"][1:3]  # pyright: ignore[reportReturnType]  # two axes


def _slice(op: Any) -> tuple[Pair, Pair, Pair]:
    start = op.params["start_indices"][1:3]
    return start, start, (op.params["strides"] or (1, 1, 1, 1))[1:3]


def _pad(op: Any) -> tuple[Pair, Pair, Pair]:
    start = tuple(-low for low, _, _ in op.params["padding_config"][1:3])
    return start, start, (1, 1)  # pyright: ignore[reportReturnType]  # two axes


# Operations that change the two spatial axes: the first output's first and last entry of the input, and the stride.
WINDOWS: dict[str, Callable[[Any], tuple[Pair, Pair, Pair]]] = {
    "conv_general_dilated": _conv,
    "reduce_window_max": _reduce_window,
    "reduce_window_sum": _reduce_window,
    "slice": _slice,
    "pad": _pad,
}


def _union(views: list[Any]) -> View | Everything:
    """What several activations of one size see together."""
    if any(isinstance(view, Everything) for view in views) or len({view.step for view in views}) > 1:
        return Everything()
    low, high = zip(*(view.low for view in views), strict=True), zip(*(view.high for view in views), strict=True)
    (top, left), (bottom, right) = (min(v) for v in low), (max(v) for v in high)
    return View((top, left), (bottom, right), views[0].step)


def _needed(program: Any) -> list[Any]:
    """The operations whose results are used, and the names."""
    used, operations = {id(v) for v in program.outvars}, []
    for op in reversed(program.eqns):
        if op.primitive.name == "name" or any(id(v) in used for v in op.outvars):
            used |= {id(v) for v in op.invars}
            operations.append(op)
    return operations[::-1]


def _inner(op: Any) -> Any:
    """The program inside an operation that only calls it, or of one of ours in XLA's operations; of a choice by
    platform, the one for any other."""
    if op.primitive in _IN_PARTS:
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in op.invars]
        return jax.make_jaxpr(functools.partial(_IN_PARTS[op.primitive], **op.params))(*shapes).jaxpr
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in op.params:
            return getattr(op.params[name], "jaxpr", op.params[name])
    return op.params["branches"][-1].jaxpr if "branches" in op.params else None
