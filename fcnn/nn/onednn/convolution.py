"""A convolution as JAX sees it: one primitive, which becomes oneDNN's in a program for a CPU and XLA's elsewhere.

A convolution and its two gradients are one trilinear form, T(x, w, y) = sum(conv(x, w) * y), differentiated by one of
its three arguments. So there is one primitive with a parameter `want`, "y" for the convolution, "x" and "w" for the
gradients; its derivatives are itself with another `want`, to any order, forward and backward.

Another primitive is a convolution with what follows it at test time. Bias, addition and activation then cost no pass of
their own over memory. In training there is nothing to gain: batch norm needs all of the convolution's results before it
can begin, and the gradient needs them once more.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad, batching

from fcnn.nn.activations import ACTIVATIONS
from fcnn.nn.onednn import handler
from fcnn.nn.onednn.convolution_plan import OPERANDS, Geometry, Name
from fcnn.nn.onednn.dispatch import best_plan, better_as_product, usable
from fcnn.nn.onednn.library import Failed
from fcnn.nn.onednn.plan import Activation, PostOps
from fcnn.nn.onednn.primitive import batch, jvp, lower_for_cpu, make_primitive


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


def fused_convolve(
    x: jax.Array, w: jax.Array, scale: jax.Array | None, bias: jax.Array, added: jax.Array | None = None, *,
    activation: Activation | None, geometry: Geometry, precision: Any = None,
) -> jax.Array:  # fmt: skip
    """conv(x, w) scale + bias + added, and an activation behind it unless that is None; all float32.

    Args:
      scale, bias: (O,); a scale of None is 1.
      added: of the result's shape, or None for nothing.
      precision: as for `convolve`.
    """
    post_ops = PostOps(scale is not None, added is not None, activation)
    operands = [operand for operand in (x, w, scale, bias, added) if operand is not None]
    return fused_convolution_p.bind(*operands, post_ops=post_ops, geometry=geometry, precision=precision)


def by_lax(first: jax.Array, second: jax.Array, *, want: Name, geometry: Geometry, precision: Any = None) -> jax.Array:
    """The same as `convolve` by XLA's convolution."""
    strides, options = geometry.strides, {"rhs_dilation": geometry.dilation, "feature_group_count": geometry.groups}
    options |= {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "precision": precision}
    convolution = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=geometry.padding, **options
    )
    return _differentiated(convolution, first, second, want, geometry)


def by_product(
    first: jax.Array, second: jax.Array, *, want: Name, geometry: Geometry, product: Callable[..., Any] = jnp.matmul
) -> jax.Array:
    """The same, without groups, by matrix products: one for the output pixels whose window has the same taps on the
    image. Taps on the padding cost nothing, which im2col multiplies too: 20 of 36 for a 3x3 kernel on 2x2 pixels."""

    def convolution(x: jax.Array, w: jax.Array) -> jax.Array:
        groups: dict[Any, dict[Any, jax.Array]] = {}
        for pixel in itertools.product(*map(range, geometry.y[1:3])):
            (rows, above), (columns, beside) = (_on_image(geometry, axis, at) for axis, at in enumerate(pixel))
            pixels = x[:, _slice(above), _slice(beside)].reshape(len(x), -1)
            groups.setdefault((rows, columns), {})[pixel] = pixels
        outputs: dict[Any, jax.Array] = {}
        for (rows, columns), group in groups.items():
            kernel = w[_slice(rows), _slice(columns)].reshape(-1, w.shape[3])
            parts = jnp.split(product(jnp.concatenate([*group.values()]), kernel), len(group))
            outputs |= zip(group, parts, strict=True)
        return jnp.stack([outputs[pixel] for pixel in sorted(outputs)], 1).reshape(geometry.y)

    return _differentiated(convolution, first, second, want, geometry)


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
    forward: Callable[..., jax.Array], first: jax.Array, second: jax.Array, want: Name, geometry: Geometry
) -> jax.Array:
    if want == "y":
        return forward(first, second)
    sought = jax.ShapeDtypeStruct(getattr(geometry, want), first.dtype)
    if want == "x":
        return jax.linear_transpose(lambda x: forward(x, second), sought)(first)[0]
    return jax.linear_transpose(lambda w: forward(first, w), sought)(second)[0]


def _by_onednn(want: Name, geometry: Geometry, post_ops: PostOps | None, precision: Any) -> Callable[..., jax.Array]:
    """A call of oneDNN's, of the operands.

    Raises:
      Failed: there is no implementation for this shape.
    """
    kind, plan = best_plan(want, geometry, post_ops, precision)
    workspace = jax.ShapeDtypeStruct((plan.workspace_bytes,), "uint8")
    results = jax.ShapeDtypeStruct(getattr(geometry, want), "float32"), workspace
    return lambda *operands: handler.call(operands, results, kind, want, geometry, post_ops)[0]


def _choose(context: Any, *, want: Name, geometry: Geometry, precision: Any) -> Callable[..., jax.Array]:
    """The choice between oneDNN and XLA, and for tiny images a matrix product by either."""
    onednn = usable(context.module_context)
    if better_as_product(geometry):
        product = _product_by_onednn if onednn else jnp.matmul
        return functools.partial(by_product, want=want, geometry=geometry, product=product)
    if onednn:
        with contextlib.suppress(Failed):
            return _by_onednn(want, geometry, None, precision)
    return functools.partial(by_lax, want=want, geometry=geometry, precision=precision)


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
    if want == "w" or axes[1] is not None:  # w is the second of both pairs that it's in
        return batch(by_lax, operands, axes, want=want, geometry=geometry, precision=precision)
    images, w = jnp.moveaxis(operands[0], axes[0], 0), operands[1]
    count, size = images.shape[0], geometry.x[0]
    larger = geometry._replace(x=(count * size, *geometry.x[1:]), y=(count * size, *geometry.y[1:]))
    images = images.reshape(count * size, *images.shape[2:])
    result = convolve(images, w, want=want, geometry=larger, precision=precision)
    return result.reshape(count, size, *result.shape[1:]), 0


def one_by_one(x: Any, w: Any, *more: Any, post_ops: PostOps, geometry: Geometry, precision: Any) -> jax.Array:
    """The same as `fused_convolve`, operation by operation, which XLA fuses in its own way."""
    y, operands = convolve(x, w, want="y", geometry=geometry, precision=precision), iter(more)
    if post_ops.scale:
        y = y * next(operands).reshape(1, 1, 1, -1)
    y = y + next(operands).reshape(1, 1, 1, -1)
    if post_ops.add:
        y = y + next(operands)
    return ACTIVATIONS[post_ops.activation](y) if post_ops.activation else y


def _choose_fused(context: Any, *, post_ops: PostOps, geometry: Geometry, precision: Any) -> Callable[..., jax.Array]:
    if usable(context.module_context) and not better_as_product(geometry):
        with contextlib.suppress(Failed):
            return _by_onednn("y", geometry, post_ops, precision)
    return functools.partial(one_by_one, post_ops=post_ops, geometry=geometry, precision=precision)


convolution_p = make_primitive("convolution", by_lax, ("want", "geometry", "precision"))
# The result's sharding is left to XLA, as the first operand's is.
convolution_p.def_abstract_eval(lambda first, _, *, want, geometry, **__: first.update(shape=getattr(geometry, want)))
ad.defbilinear(convolution_p, functools.partial(_transpose, 0), functools.partial(_transpose, 1))
batching.primitive_batchers[convolution_p] = _batch
lower_for_cpu(convolution_p, _choose)

fused_convolution_p = make_primitive("fused_convolution", one_by_one, ("post_ops", "geometry", "precision"))
fused_convolution_p.def_abstract_eval(lambda x, *_, **options: x.update(shape=options["geometry"].y))
ad.primitive_jvps[fused_convolution_p] = functools.partial(jvp, one_by_one)
lower_for_cpu(fused_convolution_p, _choose_fused)
