"""From a program of JAX's to an ONNX graph, operation by operation."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from fcnn.inference.flat_program import CALLS, called
from fcnn.inference.onnx import operations, shapes, windows
from fcnn.inference.onnx.graph import Graph, Unsupported, Value, dimensions, in_order

RULES = operations.RULES | shapes.RULES | windows.RULES


def emit(graph: Graph, program: Any, inputs: Sequence[Value]) -> list[Value]:
    """Adds a program to a graph.

    Args:
      program: a closed jaxpr, traced with a symbolic number of images.
      inputs: its arguments.

    Returns:
      Its results.

    Raises:
      Unsupported: it has an operation without a rule here; the text names it.
    """
    inner = getattr(program, "jaxpr", program)
    constants = [_constant(array) for array in getattr(program, "consts", ())]
    return _run(graph, inner, [*constants, *inputs])


def _run(graph: Graph, program: Any, inputs: Sequence[Value]) -> list[Value]:
    values: dict[Any, Value] = dict(zip((*program.constvars, *program.invars), inputs, strict=True))

    def of(variable: Any) -> Value:
        return _constant(variable.val) if isinstance(variable, core.Literal) else values[variable]

    for op in _needed(program):
        results = _apply(graph, op, [of(variable) for variable in op.invars])
        values.update(zip(op.outvars, results, strict=True))
    return [of(variable) for variable in program.outvars]


def _apply(graph: Graph, op: Any, operands: list[Value]) -> list[Value]:
    if op.primitive.name == "dim_as_value":
        raise Unsupported("a number that depends on how many images there are")
    if any(_is_narrow(variable.aval.dtype) for variable in op.outvars):
        raise Unsupported(f"{op.outvars[0].aval.dtype}; build the module with dtype float32")
    if all(value.is_constant and not value.ones for value in operands) and _is_known(op):
        arrays = op.primitive.bind(*(value.tensor for value in operands), **op.params)
        return [_constant(one) for one in (arrays if op.primitive.multiple_results else [arrays])]
    if op.primitive.name in CALLS:
        return emit(graph, called(op.params), operands)
    rule = RULES.get(op.primitive.name)
    if rule is None:
        raise Unsupported(f"the operation {op.primitive.name}")
    results = rule(graph, op, operands)
    results = results if isinstance(results, list) else [results]
    graph.channels |= {str(one.tensor): one.sizes[one.axes[1]] for one in results if len(one.shape) == 4}
    return results


def _is_narrow(dtype: Any) -> bool:
    """Whether a type is a float that NumPy doesn't have, such as bfloat16."""
    return jnp.issubdtype(dtype, jnp.floating) and not np.issubdtype(dtype, np.floating)


def _is_known(op: Any) -> bool:
    """Whether an operation on constants can be computed: it is one operation, of arrays whose size is known."""
    sizes = [size for out in op.outvars for size in dimensions(out.aval.shape)]
    return op.primitive.name not in CALLS and all(isinstance(size, int) for size in sizes)


def _constant(array: Any) -> Value:
    array = np.asarray(jax.device_get(array))
    return Value(array, array.shape, in_order(array.shape))


def _needed(program: Any) -> list[Any]:
    """The operations whose results are used."""
    used, operations = {variable for variable in program.outvars if isinstance(variable, core.Var)}, []
    for op in reversed(program.eqns):
        if any(variable in used for variable in op.outvars):
            used |= {variable for variable in op.invars if isinstance(variable, core.Var)}
            operations.append(op)
    return operations[::-1]
