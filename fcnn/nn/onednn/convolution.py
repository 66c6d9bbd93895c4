"""A convolution as JAX sees it: one primitive, which becomes oneDNN's in a program for a CPU and XLA's elsewhere.

A convolution and its two gradients are one trilinear form, T(x, w, y) = sum(conv(x, w) * y), differentiated by one of
its three arguments. So there is one primitive with a parameter `want`, "y" for the convolution, "x" and "w" for the
gradients; its derivatives are itself with another `want`, to any order, forward and backward.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fcnn.nn.conv_teaching import conv_im2col
from fcnn.nn.onednn import handler
from fcnn.nn.onednn.choice import usable
from fcnn.nn.onednn.convolution_plan import OPERANDS, Geometry, Name, convolution_plan
from fcnn.nn.onednn.library import Failed

convolution_p = Primitive("convolution")


def convolve(
    first: jax.Array, second: jax.Array, *, want: Name, geometry: Geometry, precision: Any = None
) -> jax.Array:
    """One of the three products of a convolution of float32.

    Args:
      want: "y" from x and w; "x", the gradient by x, from y's and w; "w", the gradient by w, from x and y's.
      precision: what `lax.conv_general_dilated` takes; oneDNN's is always float32's own.
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


def by_product(first: jax.Array, second: jax.Array, *, want: Name, geometry: Geometry) -> jax.Array:
    """The same by im2col and one matrix product."""
    convolution = functools.partial(
        conv_im2col,
        stride=geometry.strides,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=geometry.groups,
    )
    return _differentiated(convolution, first, second, want=want, geometry=geometry)


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
    """The choice between oneDNN and XLA, and for tiny images between XLA's convolution and its matrix product."""
    implementation = functools.partial(by_lax, want=want, geometry=geometry, precision=precision)
    if _tiny(geometry):
        implementation = functools.partial(by_product, want=want, geometry=geometry)
    if usable(context.module_context) and not better_as_product(geometry):
        with contextlib.suppress(Failed):  # no implementation for this shape
            workspace = jax.ShapeDtypeStruct((convolution_plan(want, geometry).workspace_bytes,), "uint8")
            implementation = functools.partial(_by_onednn, workspace, want=want, geometry=geometry)
    return mlir.lower_fun(implementation, multiple_results=False)(context, first, second)


def _tiny(geometry: Geometry) -> bool:
    return max(geometry.x[1:3]) <= 2 and geometry.groups == 1


def better_as_product(geometry: Geometry) -> bool:
    """Whether a matrix product is faster than oneDNN's convolution."""
    # Measured for 3x3 kernels, batch 128, one core, forward and both gradients: with 2x2 images the product takes 0.58
    # of oneDNN's time for 256 channels, 1.4 for 64; XLA's convolution takes 8 to 14 of it. From 3x3 pixels on oneDNN
    # is never slower.
    return _tiny(geometry) and min(geometry.w[2:]) >= 128


def _by_onednn(
    workspace: jax.ShapeDtypeStruct, first: jax.Array, second: jax.Array, *, want: Name, geometry: Geometry
) -> jax.Array:
    result = jax.ShapeDtypeStruct(getattr(geometry, want), "float32")
    return handler.call((first, second), (result, workspace), "convolution", want, geometry)[0]


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
    images = jax.numpy.moveaxis(images, axis, 0)
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
