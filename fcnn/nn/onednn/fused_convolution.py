"""A convolution with what follows it at test time, as JAX sees it: one call of oneDNN's in a program for a CPU, and the
operations one by one elsewhere, which XLA fuses in its own way.

Bias, addition and activation then cost no pass of their own over memory. In training there is nothing to gain: batch
norm needs all of the convolution's results before it can begin, and the gradient needs them once more.
"""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fcnn.nn.onednn.algorithm import better_as_product
from fcnn.nn.onednn.choice import usable
from fcnn.nn.onednn.convolution import by_onednn, convolve
from fcnn.nn.onednn.convolution_plan import Geometry
from fcnn.nn.onednn.ending import Activation, Ending
from fcnn.nn.onednn.library import Failed

fused_convolution_p = Primitive("fused_convolution")
_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def fused_convolve(
    x: jax.Array,
    w: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array,
    added: jax.Array | None = None,
    *,
    activation: Activation | None,
    geometry: Geometry,
    precision: Any = None,
) -> jax.Array:
    """conv(x, w) scale + bias + added, and an activation behind it if asked for; all float32.

    Args:
      scale, bias: (O,); a scale of None is 1.
      added: of the result's shape, or None for nothing.
      precision: as for `convolve`.
    """
    ending = Ending(scale is not None, added is not None, activation)
    operands = [operand for operand in (x, w, scale, bias, added) if operand is not None]
    return fused_convolution_p.bind(*operands, ending=ending, geometry=geometry, precision=precision)


def one_by_one(x: Any, w: Any, *more: Any, ending: Ending, geometry: Geometry, precision: Any) -> jax.Array:
    y, operands = convolve(x, w, want="y", geometry=geometry, precision=precision), iter(more)
    if ending.scale:
        y = y * next(operands).reshape(1, 1, 1, -1)
    y = y + next(operands).reshape(1, 1, 1, -1)
    if ending.add:
        y = y + next(operands)
    return _ACTIVATIONS[ending.activation](y) if ending.activation else y


def _lower_for_cpu(context: Any, *operands: Any, ending: Ending, geometry: Geometry, precision: Any) -> Any:
    implementation = functools.partial(one_by_one, ending=ending, geometry=geometry, precision=precision)
    if usable(context.module_context) and not better_as_product(geometry):
        with contextlib.suppress(Failed):
            implementation = by_onednn("y", geometry, ending, precision)
    return mlir.lower_fun(implementation, multiple_results=False)(context, *operands)


def _jvp(primals: Any, tangents: Any, **options: Any) -> Any:
    return jax.jvp(functools.partial(one_by_one, **options), primals, tuple(map(ad.instantiate_zeros, tangents)))


def _batch(operands: Any, axes: Any, **options: Any) -> tuple[jax.Array, int]:
    return jax.vmap(functools.partial(one_by_one, **options), tuple(axes))(*operands), 0


def _result(x: Any, *_: Any, geometry: Geometry, **options: Any) -> Any:
    return x.update(shape=geometry.y)


fused_convolution_p.def_impl(jax.jit(fused_convolution_p.bind, static_argnames=("ending", "geometry", "precision")))
fused_convolution_p.def_abstract_eval(_result)
ad.primitive_jvps[fused_convolution_p] = _jvp
batching.primitive_batchers[fused_convolution_p] = _batch
mlir.register_lowering(fused_convolution_p, mlir.lower_fun(one_by_one, multiple_results=False))
mlir.register_lowering(fused_convolution_p, _lower_for_cpu, platform="cpu")
