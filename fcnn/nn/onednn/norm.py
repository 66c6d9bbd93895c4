"""Batch norm in training, as JAX sees it: a primitive, which is oneDNN's in a program for a CPU and XLA's elsewhere.

Left to itself, XLA computes what automatic differentiation makes of batch norm and ReLU, pass by pass over the images;
here the gradient is written out. The derivative is a linear primitive, and that one's transpose is the gradient;
derivatives of these are XLA's.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from fcnn.nn.onednn import handler
from fcnn.nn.onednn.dispatch import usable
from fcnn.nn.onednn.library import Failed
from fcnn.nn.onednn.norm_plan import norm_gradient_plan, norm_plan
from fcnn.nn.onednn.primitive import lower_for_cpu, make_primitive


def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float, relu: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch norm by the batch's own statistics, and a ReLU behind it if asked for.

    Args:
      x: (B, ..., C) float32.
      scale, bias: (C,) float32.

    Returns:
      (y, mean, var), of shapes (B, ..., C), (C,) and (C,); the variance is the biased one.
    """
    y, mean, var, _ = norm_p.bind(x, scale, bias, epsilon=epsilon, relu=relu)
    return y, mean, var


def _statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    return mean, jnp.square(x - _wide(mean, x)).mean(axes)


def _wide(vector: jax.Array, x: jax.Array) -> jax.Array:
    return lax.broadcast_in_dim(vector, x.shape, (x.ndim - 1,))


def _mask(y: jax.Array, relu: bool) -> jax.Array:
    """Where y is above 0, as oneDNN keeps it; dropped from a program in which XLA does the rest too."""
    return jnp.packbits(y.ravel() > 0, bitorder="little") if relu else jnp.zeros(0, jnp.uint8)


def norm_by_lax(x: Any, scale: Any, bias: Any, *, epsilon: float, relu: bool) -> tuple[jax.Array, ...]:
    mean, var = _statistics(x)
    y = (x - _wide(mean, x)) * _wide(lax.rsqrt(var + epsilon) * scale, x) + _wide(bias, x)
    y = jnp.maximum(y, 0) if relu else y
    return y, mean, var, _mask(y, relu)


def tangent_by_lax(t: Any, t_scale: Any, t_bias: Any, *known: Any, epsilon: float, relu: bool) -> jax.Array:
    """y's tangent from those of x, scale and bias; `known` is (x, mean, var, scale, y, mask)."""
    x, mean, var, scale, y, _ = known
    axes, factor = tuple(range(x.ndim - 1)), lax.rsqrt(var + epsilon)
    normal = (x - _wide(mean, x)) * _wide(factor, x)
    through = t - _wide(t.mean(axes), x) - normal * _wide((t * normal).mean(axes), x)
    tangent = through * _wide(factor * scale, x) + normal * _wide(t_scale, x) + _wide(t_bias, x)
    return jnp.where(y > 0, tangent, 0) if relu else tangent


def gradient_by_lax(dy: Any, *known: Any, epsilon: float, relu: bool) -> tuple[jax.Array, ...]:
    """The gradients by x, scale and bias: the transpose of `tangent_by_lax`."""
    x, mean, var, scale, y, _ = known
    axes, factor, count = tuple(range(x.ndim - 1)), lax.rsqrt(var + epsilon), x.size // x.shape[-1]
    dy = jnp.where(y > 0, dy, 0) if relu else dy
    normal = (x - _wide(mean, x)) * _wide(factor, x)
    by_bias, by_scale = dy.sum(axes), (dy * normal).sum(axes)
    by_x = (dy - _wide(by_bias / count, x) - normal * _wide(by_scale / count, x)) * _wide(factor * scale, x)
    return by_x, by_scale, by_bias


def _abstract(shape: tuple[int, ...], dtype: str = "float32") -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _norm_by_onednn(x: Any, scale: Any, bias: Any, *, epsilon: float, relu: bool) -> tuple[jax.Array, ...]:
    mean, var = _statistics(x)
    sizes = [*[x.size // 8] * relu, norm_plan(x.shape, epsilon, relu).workspace_bytes]
    results = [_abstract(x.shape), *(_abstract((size,), "uint8") for size in sizes)]
    y, *more = handler.call((x, mean, var, scale, bias), results, "norm", x.shape, epsilon, relu)
    return y, mean, var, more[0] if relu else jnp.zeros(0, jnp.uint8)


def _gradient_by_onednn(dy: Any, *known: Any, epsilon: float, relu: bool) -> tuple[jax.Array, ...]:
    x, mean, var, scale, _, mask = known
    workspace = _abstract((norm_gradient_plan(x.shape, epsilon, relu).workspace_bytes,), "uint8")
    results = [*(_abstract(one.shape) for one in (x, scale, scale)), workspace]
    operands = (dy, x, mean, var, scale, *([mask] * relu))
    return tuple(handler.call(operands, results, "norm_gradient", x.shape, epsilon, relu)[:3])


def _chooser(by_lax: Callable[..., Any], by_onednn: Callable[..., Any], plan: Callable[..., Any]) -> Callable[..., Any]:
    def choose(context: Any, **options: Any) -> Callable[..., Any]:
        shape = context.avals_in[0].shape
        if len(shape) == 4 and min(shape) > 0 and usable(context.module_context):
            with contextlib.suppress(Failed):  # no implementation for this shape
                plan(shape, **options)
                return functools.partial(by_onednn, **options)
        return functools.partial(by_lax, **options)

    return choose


def _norm_jvp(primals: Any, tangents: Any, *, epsilon: float, relu: bool) -> Any:
    x, scale, _ = primals
    y, mean, var, mask = norm_p.bind(*primals, epsilon=epsilon, relu=relu)
    t, t_scale, t_bias = map(ad.instantiate_zeros, tangents)
    t_y = tangent_p.bind(t, t_scale, t_bias, x, mean, var, scale, y, mask, epsilon=epsilon, relu=relu)
    axes = tuple(range(x.ndim - 1))
    t_var = 2 * ((x - _wide(mean, x)) * t).mean(axes)
    none = ad.Zero(jax.core.ShapedArray(mask.shape, jax.dtypes.float0))
    return (y, mean, var, mask), (t_y, t.mean(axes), t_var, none)


def _tangent_transpose(dy: Any, *operands: Any, epsilon: float, relu: bool) -> list[Any]:
    sought, known = operands[:3], operands[3:]
    gradients = gradient_p.bind(ad.instantiate_zeros(dy), *known, epsilon=epsilon, relu=relu)
    pairs = zip(sought, gradients, strict=True)
    return [grad if ad.is_undefined_primal(one) else None for one, grad in pairs] + [None] * len(known)


def _by_lax_jvp(by_lax: Callable[..., Any]) -> Callable[..., Any]:
    """The mask, which is the last operand, has no tangent, and XLA's code doesn't look at it."""

    def jvp(primals: Any, tangents: Any, **options: Any) -> Any:
        *primals, mask = primals
        tangents = map(ad.instantiate_zeros, tangents[:-1])
        return jax.jvp(lambda *operands: by_lax(*operands, mask, **options), primals, list(tangents))

    return jvp


_OPTIONS = ("epsilon", "relu")
norm_p = make_primitive("batch_norm", norm_by_lax, _OPTIONS, multiple_results=True)
ad.primitive_jvps[norm_p] = _norm_jvp
lower_for_cpu(norm_p, _chooser(norm_by_lax, _norm_by_onednn, norm_plan))

tangent_p = make_primitive("batch_norm_jvp", tangent_by_lax, _OPTIONS)
ad.primitive_transposes[tangent_p] = _tangent_transpose
ad.primitive_jvps[tangent_p] = _by_lax_jvp(tangent_by_lax)

gradient_p = make_primitive("batch_norm_gradient", gradient_by_lax, _OPTIONS, multiple_results=True)
ad.primitive_jvps[gradient_p] = _by_lax_jvp(gradient_by_lax)
lower_for_cpu(gradient_p, _chooser(gradient_by_lax, _gradient_by_onednn, norm_gradient_plan))
