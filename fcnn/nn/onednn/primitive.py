"""How JAX's primitives are made here: XLA's code in every transformation, and a choice in programs for a CPU."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def make_primitive(
    name: str, by_lax: Callable[..., Any], static: tuple[str, ...], *, multiple_results: bool = False
) -> Primitive:
    """A primitive that is XLA's code, batched too, where nothing else is registered; `static` are its options."""
    primitive = Primitive(name)
    primitive.multiple_results = multiple_results
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    primitive.def_abstract_eval(functools.partial(_abstract, by_lax))
    batching.primitive_batchers[primitive] = functools.partial(batch, by_lax)
    mlir.register_lowering(primitive, mlir.lower_fun(by_lax, multiple_results=multiple_results))
    return primitive


def lower_for_cpu(primitive: Primitive, choose: Callable[..., Callable[..., Any]]) -> None:
    """Registers a choice, `(lowering context, **options) -> function of the operands`, for programs for a CPU."""

    def lower(context: Any, *operands: Any, **options: Any) -> Any:
        function = choose(context, **options)
        return mlir.lower_fun(function, multiple_results=primitive.multiple_results)(context, *operands)

    mlir.register_lowering(primitive, lower, platform="cpu")


def batch(by_lax: Callable[..., Any], operands: Any, axes: Any, **options: Any) -> Any:
    """vmap of XLA's code."""
    results = jax.vmap(functools.partial(by_lax, **options), tuple(axes))(*operands)
    return results, jax.tree.map(lambda _: 0, results)


def jvp(by_lax: Callable[..., Any], primals: Any, tangents: Any, **options: Any) -> Any:
    """The derivative of XLA's code."""
    return jax.jvp(functools.partial(by_lax, **options), primals, tuple(map(ad.instantiate_zeros, tangents)))


def _abstract(by_lax: Callable[..., Any], *operands: Any, **options: Any) -> Any:
    results = jax.eval_shape(functools.partial(by_lax, **options), *operands)
    return jax.tree.map(lambda one: jax.core.ShapedArray(one.shape, one.dtype), results)
