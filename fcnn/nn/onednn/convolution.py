"""A convolution as JAX sees it: one primitive, which becomes oneDNN's in a program for a CPU and XLA's elsewhere.

A convolution and its two gradients are one trilinear form, T(x, w, y) = sum(conv(x, w) * y), differentiated by one of
its three arguments. So there is one primitive with a parameter `want`, "y" for the convolution, "x" and "w" for the
gradients; its derivatives are itself with another `want`, to any order, forward and backward.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fcnn.nn.onednn import handler
from fcnn.nn.onednn.algorithm import best_plan, better_as_product
from fcnn.nn.onednn.choice import usable
from fcnn.nn.onednn.convolution_plan import OPERANDS, Geometry, Name
from fcnn.nn.onednn.ending import Ending
from fcnn.nn.onednn.library import Failed

convolution_p = Primitive("convolution")


def convolve(
    first: jax.Array, second: jax.Array, *, want: Name, geometry: Geometry, precision: Any = None
) -> jax.Array:
    """One of the three products of a convolution of float32.

    Args:
      want: "y" from x and w; "x", the gradient by x, from y's and w; "w", the gradient by w, from x and y's.
      precision: what `lax.conv_general_dilated` takes; with oneDNN every one is float32's own, but only
        JAX's default may be computed by Winograd's algorithm.
    """
    return convolution_p.bind(first, second, want=want, geometry=geometry, precision=precision)


def by_lax(first: jax.Array, second: jax.Array, *, want: Name, geometry: Geometry, precision: Any = None) -> jax.Array:
    """The same by XLA's convolution."""
    convolution = functools.partial(
        lax.conv_general_dilated,
        window_strides=geometry.strides,
        padding=geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
        precision=precision,
    )
    return _differentiated(convolution, first, second, want=want, geometry=geometry)


def by_product(
    first: jax.Array,
    second: jax.Array,
    *,
    want: Name,
    geometry: Geometry,
    product: Callable[[jax.Array, jax.Array], jax.Array] = jnp.matmul,
) -> jax.Array:
    """The same, without groups, by matrix products: one for the output pixels whose window has the same taps on the
    image. Taps on the padding cost nothing, which im2col multiplies too: 20 of 36 for a 3x3 kernel on 2x2 pixels."""

    def convolution(x: jax.Array, w: jax.Array) -> jax.Array:
        seen: dict[Any, dict[Any, jax.Array]] = {}
        for place in itertools.product(*map(range, geometry.y[1:3])):
            (rows, above), (columns, beside) = (_on_image(geometry, axis, at) for axis, at in enumerate(place))
            pixels = x[:, _slice(above), _slice(beside)].reshape(len(x), -1)
            seen.setdefault((rows, columns), {})[place] = pixels
        found: dict[Any, jax.Array] = {}
        for (rows, columns), group in seen.items():
            kernel = w[_slice(rows), _slice(columns)].reshape(-1, w.shape[3])
            found |= zip(group, jnp.split(product(jnp.concatenate([*group.values()]), kernel), len(group)), strict=True)
        return jnp.stack([found[place] for place in sorted(found)], 1).reshape(geometry.y)

    return _differentiated(convolution, first, second, want=want, geometry=geometry)


def _on_image(geometry: Geometry, axis: int, at: int) -> tuple[range, range]:
    """Along one axis, an output pixel's taps that lie on the image, and the pixels under them."""
    first, step = at * geometry.strides[axis] - geometry.padding[axis][0], geometry.dilation[axis]
    taps = [tap for tap in range(geometry.w[axis]) if 0 <= first + tap * step < geometry.x[1 + axis]]
    if not taps:
        return range(0), range(0)
    return range(taps[0], taps[-1] + 1), range(first + taps[0] * step, first + taps[-1] * step + 1, step)


def _slice(numbers: range) -> slice:
    return slice(numbers.start, numbers.stop, numbers.step)


def _product_by_onednn(a: jax.Array, b: jax.Array) -> jax.Array:
    """(M, K) @ (K, N) as a convolution of a row of pixels: of two cores XLA's own product takes one."""
    (m, k), n = a.shape, b.shape[1]
    if m <= 2 or not k:  # a tiny image again, or none
        return a @ b
    row = Geometry((1, 1, m, k), (1, 1, k, n), (1, 1, m, n), (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    return convolve(a.reshape(row.x), b.reshape(row.w), want="y", geometry=row).reshape(m, n)


def _differentiated(
    forward: Callable[[jax.Array, jax.Array], jax.Array],
    first: jax.Array,
    second: jax.Array,
    *,
    want: Name,
    geometry: Geometry,
) -> jax.Array:
    if want == "y":
        return forward(first, second)
    sought = jax.ShapeDtypeStruct(getattr(geometry, want), first.dtype)
    if want == "x":
        return jax.linear_transpose(lambda x: forward(x, second), sought)(first)[0]
    return jax.linear_transpose(lambda w: forward(first, w), sought)(second)[0]


def _lower_for_cpu(context: Any, first: Any, second: Any, *, want: Name, geometry: Geometry, precision: Any) -> Any:
    """The choice between oneDNN and XLA, and for tiny images a matrix product by either."""
    implementation = functools.partial(by_lax, want=want, geometry=geometry, precision=precision)
    onednn = usable(context.module_context)
    if better_as_product(geometry):
        product = _product_by_onednn if onednn else jnp.matmul
        implementation = functools.partial(by_product, want=want, geometry=geometry, product=product)
    elif onednn:
        with contextlib.suppress(Failed):
            implementation = by_onednn(want, geometry, None, precision)
    return mlir.lower_fun(implementation, multiple_results=False)(context, first, second)


def by_onednn(want: Name, geometry: Geometry, ending: Ending | None, precision: Any) -> Callable[..., jax.Array]:
    """A call of oneDNN's, of the operands.

    Raises:
      Failed: there is no implementation for this shape.
    """
    maker, plan = best_plan(want, geometry, ending, precision)
    results = (
        jax.ShapeDtypeStruct(getattr(geometry, want), "float32"),
        jax.ShapeDtypeStruct((plan.workspace_bytes,), "uint8"),
    )
    return lambda *operands: handler.call(operands, results, maker, want, geometry, ending)[0]


def _transpose(
    at: int, cotangent: Any, first: Any, second: Any, *, want: Name, geometry: Geometry, precision: Any
) -> jax.Array:
    """T's derivative by the operand number `at`; `want` is now known, it's the cotangent."""
    known = dict(zip(OPERANDS[want], (first, second), strict=True)) | {want: cotangent}
    sought = OPERANDS[want][at]
    a, b = (known[name] for name in OPERANDS[sought])
    return convolve(a, b, want=sought, geometry=geometry, precision=precision)


def _batch(operands: Any, axes: Any, *, want: Name, geometry: Geometry, precision: Any) -> tuple[jax.Array, int]:
    """vmap. Over images alone it's a larger batch; where there are several kernels XLA's rules know best."""
    names = OPERANDS[want]
    if want == "w" or axes[names.index("w")] is not None:
        one = functools.partial(by_lax, want=want, geometry=geometry, precision=precision)
        return jax.vmap(one, tuple(axes))(*operands), 0
    (images, w), (axis, _) = operands, axes  # w is the second of both pairs that it's in
    images = jnp.moveaxis(images, axis, 0)
    count, batch = images.shape[0], geometry.x[0]
    larger = geometry._replace(x=(count * batch, *geometry.x[1:]), y=(count * batch, *geometry.y[1:]))
    images = images.reshape(count * batch, *images.shape[2:])
    result = convolve(images, w, want=want, geometry=larger, precision=precision)
    return result.reshape(count, batch, *result.shape[1:]), 0


def _result(first: Any, second: Any, *, want: Name, geometry: Geometry, precision: Any) -> Any:
    return first.update(shape=getattr(geometry, want))  # whose sharding is left to XLA, as first's is


convolution_p.def_impl(jax.jit(convolve, static_argnames=("want", "geometry", "precision")))
convolution_p.def_abstract_eval(_result)
ad.defbilinear(convolution_p, functools.partial(_transpose, 0), functools.partial(_transpose, 1))
batching.primitive_batchers[convolution_p] = _batch
mlir.register_lowering(convolution_p, mlir.lower_fun(by_lax, multiple_results=False))
mlir.register_lowering(convolution_p, _lower_for_cpu, platform="cpu")
