"""A traced program as a list of operations: those of the functions that it calls in their place, and none unneeded."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import numpy as np
from jax.extend import core

CALLS = ("jit", "remat2", "custom_jvp_call", "custom_vjp_call")
"""Operations that only call the program inside."""
_ALWAYS = 1 << 62


@dataclasses.dataclass(eq=False)
class Value:
    """The argument of the program, or a result of an operation."""

    aval: Any
    """Its shape and type."""
    last: int = -1
    """The number of the last operation that reads it; beyond all for a result of the program."""


@dataclasses.dataclass
class Operation:
    """One operation."""

    name: str
    """Of JAX's primitive."""
    params: dict[str, Any]
    function: Callable[..., Sequence[Any]]
    """Computes it by JAX, from the operands."""
    operands: list[Any]
    """Values, and arrays that are known."""
    results: list[Value]
    acts: bool
    """Whether it does more than compute its results, as to write to a reference or to print."""


def called(params: dict[str, Any]) -> Any:
    """Returns the program inside one of CALLS."""
    return next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)


def flatten(program: Any) -> tuple[Value, list[Operation], list[Any]]:
    """Returns the argument, the operations and the results of a closed jaxpr of one argument.

    >>> argument, operations, (result,) = flatten(jax.make_jaxpr(lambda x: jax.nn.relu(x + 1))(2.0))
    >>> [op.name for op in operations], operations[0].operands[0] is argument, operations[1].results[0] is result
    (['add', 'max'], True, True)
    """
    argument = Value(program.in_avals[0])
    operations: list[Operation] = []
    results = _append(program.jaxpr, program.consts, [argument], operations)
    operations = _needed(operations, results)
    for number, op in enumerate(operations):
        for value in _values(op.operands):
            value.last = number
    for value in _values(results):
        value.last = _ALWAYS
    return argument, operations, results


def _append(program: Any, constants: Sequence[Any], inputs: Sequence[Any], operations: list[Operation]) -> list[Any]:
    """Appends a program's operations; returns its results."""
    values: dict[Any, Any] = dict(zip((*program.constvars, *program.invars), (*constants, *inputs), strict=True))

    def of(variable: Any) -> Any:
        return _array(variable) if isinstance(variable, core.Literal) else values[variable]

    for equation in program.eqns:
        operands, name = [of(variable) for variable in equation.invars], equation.primitive.name
        if name in CALLS:
            inside = called(equation.params)
            results = _append(getattr(inside, "jaxpr", inside), getattr(inside, "consts", ()), operands, operations)
        elif name == "name":  # of an endpoint
            results = operands
        else:
            results = [Value(variable.aval) for variable in equation.outvars]
            operations.append(
                Operation(
                    name, equation.params, _function(program, equation), operands, results, bool(equation.effects)
                )
            )
        values |= zip(equation.outvars, results, strict=True)
    return [of(variable) for variable in program.outvars]


def _array(literal: Any) -> np.ndarray:
    return np.asarray(literal.val, literal.aval.dtype)


def _function(program: Any, equation: Any) -> Callable[..., Sequence[Any]]:
    """An operation of the program as a function of its operands."""
    variables = list(dict.fromkeys(one for one in equation.invars if not isinstance(one, core.Literal)))
    places = [equation.invars.index(variable) for variable in variables]
    alone = program.replace(constvars=[], invars=variables, outvars=equation.outvars, eqns=[equation])
    return lambda *operands: jax.core.eval_jaxpr(alone, [], *(operands[place] for place in places))


def _needed(operations: Sequence[Operation], results: Sequence[Any]) -> list[Operation]:
    wanted, kept = set(_values(results)), []
    for op in reversed(operations):
        if op.acts or wanted.intersection(op.results):
            wanted.update(_values(op.operands))
            kept.append(op)
    return kept[::-1]


def _values(operands: Sequence[Any]) -> list[Value]:
    return [one for one in operands if isinstance(one, Value)]
