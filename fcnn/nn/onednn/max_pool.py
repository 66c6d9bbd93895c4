"""Max pooling in training, as JAX sees it: a pooling that says where the maxima are, and a gradient that goes there.

Left to itself, XLA compares all entries of all windows again to find where a gradient goes, on one core. In a program
for a CPU oneDNN keeps the places, a byte each, and the images themselves are needed no more. The derivative is a linear
primitive, and that one's transpose is the gradient; derivatives of these are XLA's.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.interpreters import ad

from fcnn.nn.geometry import Windows
from fcnn.nn.onednn import handler
from fcnn.nn.onednn.dispatch import usable
from fcnn.nn.onednn.library import Failed
from fcnn.nn.onednn.pool_plan import max_pool_gradient_plan, max_pool_plan
from fcnn.nn.onednn.primitive import jvp, lower_for_cpu, make_primitive
from fcnn.nn.pool_by_lax import max_pool_by_lax, pad_for_max


def max_pool_jvp(primals: Any, tangents: Any, *, windows: Windows) -> Any:
    """The derivative of max pooling."""
    (y, _), (t_y, _) = _placed_jvp(primals, tangents, windows=windows)
    return y, t_y


def _placed_by_lax(x: jax.Array, *, windows: Windows) -> tuple[jax.Array, jax.Array]:
    """y, and which entry of its window each is, the first of equals; that is dropped where nobody asks for it."""
    taps = list(itertools.product(*map(range, windows.kernel)))
    entries = jnp.stack([windows.taps(pad_for_max(x, windows), tap) for tap in taps])
    return max_pool_by_lax(x, windows=windows), entries.argmax(axis=0).astype(jnp.uint8)


def _tangent_by_lax(t: jax.Array, x: jax.Array, _: Any, *, windows: Windows) -> jax.Array:
    return jax.jvp(functools.partial(max_pool_by_lax, windows=windows), (x,), (t,))[1]


def _gradient_by_lax(dy: jax.Array, x: jax.Array, _: Any, *, windows: Windows) -> jax.Array:
    return jax.vjp(functools.partial(max_pool_by_lax, windows=windows), x)[1](dy)[0]


def _placed_by_onednn(x: jax.Array, *, windows: Windows) -> tuple[jax.Array, jax.Array]:
    shape, workspace = (x.shape[0], *windows.output, x.shape[-1]), max_pool_plan(x.shape, windows).workspace_bytes
    results = [_array(shape, "float32"), _array(shape, "uint8"), _array((workspace,), "uint8")]
    y, places, _ = handler.call((x,), results, "max_pool", x.shape, windows)
    return y, places


def _gradient_by_onednn(dy: jax.Array, x: jax.Array, places: jax.Array, *, windows: Windows) -> jax.Array:
    workspace = max_pool_gradient_plan(x.shape, windows).workspace_bytes
    results = [_array(x.shape, "float32"), _array((workspace,), "uint8")]
    return handler.call((dy, places), results, "max_pool_gradient", x.shape, windows)[0]


def _array(shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _chooser(by_lax: Callable[..., Any], by_onednn: Callable[..., Any], images: int) -> Callable[..., Any]:
    """Chooses oneDNN where it has both programs for the operand number `images`."""

    def choose(context: Any, *, windows: Windows) -> Callable[..., Any]:
        x = context.avals_in[images]
        if x.ndim == 4 and x.dtype == jnp.float32 and min(x.shape) > 0 and usable(context.module_context):
            with contextlib.suppress(Failed):
                max_pool_plan(x.shape, windows)
                max_pool_gradient_plan(x.shape, windows)
                return functools.partial(by_onednn, windows=windows)
        return functools.partial(by_lax, windows=windows)

    return choose


def _tangent_transpose(dy: Any, t: Any, x: Any, places: Any, *, windows: Windows) -> list[Any]:
    gradient = gradient_p.bind(ad.instantiate_zeros(dy), x, places, windows=windows)
    return [gradient if ad.is_undefined_primal(t) else None, None, None]


def _placed_jvp(primals: Any, tangents: Any, *, windows: Windows) -> Any:
    y, places = placed_p.bind(*primals, windows=windows)
    t_y = tangent_p.bind(ad.instantiate_zeros(tangents[0]), *primals, places, windows=windows)
    return (y, places), (t_y, ad.Zero(jax.core.ShapedArray(places.shape, jax.dtypes.float0)))


def _linear_jvp(by_lax: Callable[..., Any]) -> Callable[..., Any]:
    """The derivative of what is linear in its first operand; the places have none."""

    def rule(primals: Any, tangents: Any, *, windows: Windows) -> Any:
        first, x, places = primals
        return jvp(lambda first, x: by_lax(first, x, places, windows=windows), (first, x), tuple(tangents[:2]))

    return rule


placed_p = make_primitive("max_pool_placed", _placed_by_lax, ("windows",), multiple_results=True)
ad.primitive_jvps[placed_p] = _placed_jvp
lower_for_cpu(placed_p, _chooser(_placed_by_lax, _placed_by_onednn, 0))

tangent_p = make_primitive("max_pool_jvp", _tangent_by_lax, ("windows",))
ad.primitive_transposes[tangent_p] = _tangent_transpose
ad.primitive_jvps[tangent_p] = _linear_jvp(_tangent_by_lax)

gradient_p = make_primitive("max_pool_gradient", _gradient_by_lax, ("windows",))
ad.primitive_jvps[gradient_p] = _linear_jvp(_gradient_by_lax)
lower_for_cpu(gradient_p, _chooser(_gradient_by_lax, _gradient_by_onednn, 1))
