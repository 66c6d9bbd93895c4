"""A network whose weights don't change any more, compiled: on one CPU what oneDNN computes in a row is one call.

A program calls oneDNN layer by layer (`fcnn.nn.onednn`). Each call comes through Python, arranges its weights anew and
takes fresh memory for its result. Where the weights are known and nothing is differentiated, that is done once.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import numpy as np

from fcnn.inference.flat_program import Operation, Value, flatten
from fcnn.nn.onednn import handler
from fcnn.nn.onednn.convolution_plan import Geometry
from fcnn.nn.onednn.dispatch import available, best_plan, better_as_product
from fcnn.nn.onednn.library import Failed
from fcnn.nn.onednn.plan import ExecutionPlan, PostOps
from fcnn.nn.onednn.pool_plan import concatenation_plan, pool_plan
from fcnn.nn.onednn.sequence import Buffer, NetworkMemory, PlanSequence

_MANY_WEIGHTS = 1 << 18
"""From so many on a dense layer of a few images is faster on all cores than by XLA on one."""


def compiled(apply: Callable[[Any, jax.Array], Any], variables: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Compiles a network with its variables: `(images) -> apply(variables, images)`, up to rounding, of finite numbers.

    On a CPU with oneDNN the function has its weights a second time, as oneDNN arranges them; it waits for its results,
    and can't be differentiated or called within another compiled function.

    >>> double = compiled(lambda variables, x: variables["w"] * x, {"w": 2.0})
    >>> double(np.ones((1, 1, 1, 1), np.float32)).item()
    2.0
    """
    on_device = jax.device_put(dict(variables))
    if not (jax.default_backend() == "cpu" and available()):
        return functools.partial(jax.jit(apply), on_device)
    memory = NetworkMemory()
    program = jax.jit(_joined(functools.partial(apply, on_device), memory))

    def answer(images: Any) -> Any:
        try:
            # What oneDNN is to compute goes when the function does, which lives at least until it returns.
            return jax.block_until_ready(program(images))
        except Exception:  # of XLA's, which has only the text of an interrupt that came within a call of oneDNN
            if memory.interrupts:
                raise memory.interrupts.pop() from None
            raise

    return answer


def _joined(function: Callable[[jax.Array], Any], memory: NetworkMemory) -> Callable[[jax.Array], Any]:
    """The same function, its calls of oneDNN joined."""
    owner = _Owner()

    def joined(images: jax.Array) -> Any:
        shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
        program, results = jax.make_jaxpr(function, return_shape=True)(shape)
        argument, operations, outputs = flatten(program)
        walk = _Walk(argument, images, memory, owner)
        for number, op in enumerate(operations):
            walk.step(number, op)
        walk.call_onednn(len(operations))
        return jax.tree.unflatten(jax.tree.structure(results), map(walk.known, outputs))

    return joined


class _Owner:
    """As long as it lives, XLA may call what it has."""


class _Walk:
    """A program on its way through: what is computed, and what oneDNN is to compute in its next call."""

    def __init__(self, argument: Value, images: jax.Array, memory: NetworkMemory, owner: "_Owner") -> None:
        self._computed, self._memory, self._owner = {argument: images}, memory, owner
        self._begin()

    def _begin(self) -> None:
        self._sequence = PlanSequence(self._memory)
        self._operands: dict[Value, Buffer] = {}
        self._pending: dict[Value, Buffer] = {}

    def known(self, value: Any) -> Any:
        """What a value is by now; itself if oneDNN is yet to compute it, or if it's an array."""
        return self._computed.get(value, value) if isinstance(value, Value) else value

    def step(self, number: int, op: Operation) -> None:
        """Computes an operation, or adds it to oneDNN's next call."""
        operands = [self.known(value) for value in op.operands]
        if not op.acts and all(map(_is_constant, operands)):
            self._computed |= zip(op.results, _evaluated(op, operands), strict=True)
            return
        planned = _plan(op, operands)
        if planned is None:
            if any(isinstance(value, Value) for value in operands):
                self.call_onednn(number)
            self._compute(op, [self.known(value) for value in op.operands])
            return
        plan, arguments = planned
        buffers = [self._buffer(op.operands[one] if isinstance(one, int) else one) for one in arguments]
        (result,) = op.results
        self._pending[result] = self._sequence.add(plan, buffers, 4 * math.prod(result.aval.shape))

    def _compute(self, op: Operation, operands: Sequence[Any]) -> None:
        self._computed |= zip(op.results, op.function(*operands), strict=True)

    def _buffer(self, value: Any) -> Buffer:
        """Where an operand of oneDNN's lies."""
        known = self.known(value)
        if isinstance(known, Value):
            return self._pending[known]
        return self._memory.constant(known) if _is_constant(known) else self._operands.setdefault(value, Buffer())

    def call_onednn(self, number: int) -> None:
        """Has oneDNN compute what is pending, before the operation of this number."""
        results = {value: buffer for value, buffer in self._pending.items() if value.last >= number}
        if results:
            plan = self._sequence.plan([*self._operands.values()], [*results.values()])
            shapes = [jax.ShapeDtypeStruct(value.aval.shape, value.aval.dtype) for value in results]
            operands = [self._computed[value] for value in self._operands]
            run = functools.partial(self._memory.run, plan)
            computed = handler.call_function(operands, shapes, run, owner=self._owner)
            self._computed |= zip(results, computed, strict=True)
        self._begin()


def _is_constant(value: Any) -> bool:
    return not isinstance(value, Value | jax.core.Tracer)


def _evaluated(op: Operation, operands: Sequence[Any]) -> Sequence[Any]:
    """The results of an operation on constants. Those that fold batch norm don't wait for XLA to compile each."""
    if op.name in _BY_NUMPY and all(isinstance(value.dtype, np.dtype) for value in operands):  # no random keys
        with np.errstate(all="ignore"):
            return [_BY_NUMPY[op.name](*map(np.asarray, operands), **op.params)]
    with jax.ensure_compile_time_eval():
        return op.function(*operands)


def _broadcast(x: np.ndarray, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> np.ndarray:
    sizes = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape, strict=True):
        sizes[axis] = size
    return np.broadcast_to(x.reshape(sizes), shape)


_BY_NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "add": lambda a, b, **_: a + b,
    "sub": lambda a, b, **_: a - b,
    "mul": lambda a, b, **_: a * b,
    "rsqrt": lambda x, **_: 1 / np.sqrt(x),
    "reshape": lambda x, *, new_sizes, dimensions, **_: x.transpose(dimensions).reshape(new_sizes),
    "broadcast_in_dim": _broadcast,
}


# A plan and its operands: numbers of the operation's, and arrays.
_Planned = tuple[ExecutionPlan, list[Any]]


def _plan(op: Operation, operands: Sequence[Any]) -> _Planned | None:
    """oneDNN's plan for an operation; None if it has none, or none that is fast."""
    avals = [value.aval for value in (*op.operands, *op.results) if isinstance(value, Value)]
    if op.name not in _RULES or any(aval.dtype != np.float32 or not aval.size for aval in avals):
        return None
    try:
        return _RULES[op.name](op, operands)
    except Failed:
        return None


def _convolution(op: Operation, operands: Sequence[Any]) -> _Planned | None:
    if op.params["want"] != "y" or not _is_constant(operands[1]):
        return None
    return _by(op.params["geometry"], None, op.params["precision"], [0, operands[1]])


def _fused_convolution(op: Operation, operands: Sequence[Any]) -> _Planned | None:
    post_ops: PostOps = op.params["post_ops"]
    names = ["x", "w", *post_ops.operands]
    known = dict(zip(names, operands, strict=True))
    if not all(_is_constant(known[name]) for name in names if name not in ("x", "added")):
        return None
    kernel = np.asarray(known["w"]) * np.asarray(known["scale"]) if post_ops.scale else known["w"]
    arguments = [0, kernel, known["bias"], *([len(names) - 1] if post_ops.add else [])]
    return _by(op.params["geometry"], post_ops._replace(scale=False), op.params["precision"], arguments)


def _by(geometry: Geometry, post_ops: PostOps | None, precision: Any, arguments: list[Any]) -> _Planned | None:
    if better_as_product(geometry) and geometry.w[:2] != (1, 1):
        return None
    return best_plan("y", geometry, post_ops, precision)[1], arguments


def _dense(op: Operation, operands: Sequence[Any]) -> _Planned | None:
    """A product with known weights, as a 1x1 convolution of a row of pixels."""
    if not _is_constant(operands[1]) or operands[1].ndim != 2 or operands[1].size < _MANY_WEIGHTS:
        return None
    x, w, y = op.operands[0].aval.shape, operands[1].shape, op.results[0].aval.shape
    if op.params["dimension_numbers"] != (((1,), (0,)), ((), ())) or len(x) != 2:
        return None
    row = Geometry((1, 1, *x), (1, 1, *w), (1, 1, *y), (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    return _by(row, None, op.params["precision"], [0, operands[1]])


def _max_pool(op: Operation, operands: Sequence[Any]) -> _Planned | None:
    shape = op.operands[0].aval.shape
    return (pool_plan("max", shape, op.params["windows"]), [0]) if len(shape) == 4 else None


def _avg_pool(op: Operation, operands: Sequence[Any]) -> _Planned | None:
    shape, kind = op.operands[0].aval.shape, "mean" if op.params["count_include_pad"] else "mean of the image"
    return (pool_plan(kind, shape, op.params["windows"]), [0]) if len(shape) == 4 else None


def _concatenate(op: Operation, operands: Sequence[Any]) -> _Planned | None:
    if op.params["dimension"] != 3 or any(map(_is_constant, operands)):
        return None
    shapes = tuple(value.aval.shape for value in op.operands)
    return (concatenation_plan(shapes), [*range(len(operands))]) if len(shapes[0]) == 4 else None


_RULES: dict[str, Callable[[Operation, Sequence[Any]], _Planned | None]] = {
    "convolution": _convolution,
    "fused_convolution": _fused_convolution,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "concatenate": _concatenate,
    "dot_general": _dense,
}
