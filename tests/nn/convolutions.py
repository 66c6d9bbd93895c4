"""Convolutions of every kind that the models' own is for, to compare it with XLA's in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from compare import normal, quick
from hypothesis import strategies as st
from jax import lax

from fcnn.nn import ACTIVATIONS
from fcnn.nn.fast_conv import conv_geometry
from fcnn.nn.onednn.convolution import fused_convolve

NHWC = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


@st.composite
def cases(draw):
    """(x's shape, w's shape, options): every kind of geometry that the hook takes for its own."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 16]))
    inputs, outputs = draw(st.sampled_from([1, 3, 5, 16, 17])), draw(st.sampled_from([1, 2, 16, 19]))
    if groups == 16:
        inputs = 1  # depthwise, and with a multiplier
    kernel, stride, dilation, pairs, size = [], [], [], [], []
    for _ in range(2):
        kernel.append(draw(st.integers(1, 5)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.sampled_from([1, 1, 2, 3])))
        pairs.append((draw(st.integers(0, 3)), draw(st.integers(0, 3))))
        span = dilation[-1] * (kernel[-1] - 1) + 1
        smallest = max(1, span - sum(pairs[-1]))
        size.append(smallest + draw(st.integers(0, 9)))
    x, w = (draw(st.integers(1, 3)), *size, groups * inputs), (*kernel, inputs, groups * outputs)
    padding = draw(st.sampled_from([pairs, pairs, pairs, "SAME", "VALID"]))
    if padding == "VALID" and any(d * (k - 1) >= s for d, k, s in zip(dilation, kernel, size, strict=True)):
        padding = pairs
    options = {"window_strides": stride, "padding": padding, "rhs_dilation": dilation, "feature_group_count": groups}
    return x, w, options | NHWC


@st.composite
def tiny_cases(draw):
    """The same for images of at most 2x2 pixels, some of whose outputs see nothing but padding."""
    size, kernel, stride, dilation, pairs = [], [], [], [], []
    for _ in range(2):
        size.append(draw(st.integers(1, 2)))
        pairs.append((draw(st.integers(0, 3)), draw(st.integers(0, 3))))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.integers(1, 2)))
        kernel.append(draw(st.integers(1, (size[-1] + sum(pairs[-1]) - 1) // dilation[-1] + 1)))
    inputs, outputs = draw(st.sampled_from([1, 3, 130])), draw(st.sampled_from([1, 5, 130]))
    options = {"window_strides": stride, "padding": pairs, "rhs_dilation": dilation}
    return (draw(st.integers(1, 4)), *size, inputs), (*kernel, inputs, outputs), options | NHWC


def in_float64(function, *arrays):
    with jax.enable_x64(True):
        arrays = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), arrays)
        return jax.tree.map(np.asarray, jax.jit(function, compiler_options=quick())(*arrays))


def single(arrays):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), list(arrays))


def products(convolve, x, w, y):
    """The output and both gradients of sum(conv(x, w) * y)."""
    output, pull = jax.vjp(convolve, x, w)
    return output, *pull(y)


def arrays_for(x, w, options, seed=0):
    rng = np.random.default_rng(seed)
    x, w = normal(rng, *x), normal(rng, *w)
    y = jax.eval_shape(lambda x, w: lax.conv_general_dilated(x, w, **options), x, w).shape
    return x, w, normal(rng, *y)


def ended_by_lax(x, w, scale, bias, *added, options, activation):
    """A convolution with scale, bias, addition and activation behind it, operation by operation."""
    y = lax.conv_general_dilated(x, w, **options)
    y: Any = sum(added, (y if scale is None else y * scale.reshape(1, 1, 1, -1)) + bias.reshape(1, 1, 1, -1))
    return y if activation is None else ACTIVATIONS[activation](y)


def ended(x, w, scale, bias, *added, options, activation):
    """The same as the models have it."""
    strides, padding, rest = options["window_strides"], options["padding"], dict(options)
    del rest["window_strides"], rest["padding"]
    geometry = conv_geometry(x, w, strides, padding, **rest)
    assert geometry is not None
    return fused_convolve(x, w, scale, bias, *added, activation=activation, geometry=geometry)


def ended_arrays_for(x, w, options, *, scale, add):
    rng = np.random.default_rng(0)
    x, w = normal(rng, *x), normal(rng, *w)
    y = jax.eval_shape(lambda x, w: lax.conv_general_dilated(x, w, **options), x, w).shape
    return x, w, normal(rng, y[-1]) if scale else None, normal(rng, y[-1]), *[normal(rng, *y)] * add
