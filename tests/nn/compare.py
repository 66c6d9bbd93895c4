"""What the tests of this folder share: how two arrays are compared, in which types, and which cases are tried."""

import contextlib
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import reference
from hypothesis import settings
from hypothesis import strategies as st

from fcnn.nn import Conv

LIMITS = {np.float64: 1e-10, np.float32: 1e-5}

# So many times as many examples: CI runs them once more with 5.
THOROUGH = int(os.environ.get("FCNN_TESTS_THOROUGH", "1"))
properties = settings(max_examples=8 * THOROUGH, deadline=None, derandomize=True, database=None)
few = settings(properties, max_examples=4 * THOROUGH)


def error(actual, expected, smallest=1e-3):
    """The largest difference, relative to the largest entry that is expected (or to `smallest`, if all are smaller)."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if expected.size == 0:
        return 0.0
    return float(np.max(np.abs(actual.astype(np.float64) - expected)) / max(np.max(np.abs(expected)), smallest))


@functools.cache
def quick():
    """Options to compile fast, not to fast code, since that is where the time of these tests goes.

    Releases of XLA differ in the options that they know.
    """
    known = {}
    for name, value in (("xla_backend_optimization_level", 0), ("xla_cpu_use_fusion_emitters", False)):
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda: jnp.zeros(()), compiler_options={name: value})()
            known[name] = value
    return known


def check(name, function, inputs, expected):
    """Runs `function(*inputs)` in float64 and in float32 under JAX's strict rules and compares with `expected`.

    The inputs are float32 numbers, so that what they are rounded to isn't taken for an error. Function and expectation
    may give several arrays.
    """
    for dtype, limit in LIMITS.items():
        with jax.enable_x64(dtype is np.float64), jax.numpy_dtype_promotion("strict"):
            outputs = jax.jit(function, compiler_options=quick())(*(jnp.asarray(v, dtype) for v in inputs))
            outputs, wanted = jax.tree.leaves(outputs), jax.tree.leaves(expected)
            assert len(outputs) == len(wanted)
            for output, one in zip(outputs, wanted, strict=True):
                assert output.dtype == dtype
                assert error(output, one) <= limit, f"{name} in {dtype.__name__}: error {error(output, one)}"


def apply(layer, variables, x, **options) -> Any:
    """`layer.apply`, compiled fast."""
    return jax.jit(lambda v, x: layer.apply(v, x, **options), compiler_options=quick())(variables, x)


def fast_conv(x, w, bias, *, stride, padding, dilation, groups, padding_mode="zeros"):
    """`Conv` with the arguments of `conv_sliding`."""
    assert padding_mode == "zeros"
    layer = Conv(w.shape[-1], w.shape[:-2], stride, padding, kernel_dilation=dilation, feature_group_count=groups)
    return layer.apply({"params": {"kernel": w, "bias": bias}}, x)


def normal(rng, *shape):
    """Standard normal float32 numbers, held in float64."""
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


@st.composite
def conv_cases(draw, modes=("zeros",)):
    """(rng, x's shape, w's shape, arguments of conv_sliding, the same as the reference's)."""
    n = draw(st.integers(1, 3))
    groups, mode = draw(st.integers(1, 3)), draw(st.sampled_from(modes))
    kernel, stride, dilation, pairs, size = [], [], [], [], []
    for _ in range(n):
        kernel.append(draw(st.integers(1, 3 if n < 3 else 2)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.integers(1, 3 if n < 3 else 2)))
        pairs.append((draw(st.integers(0, 2)), draw(st.integers(0, 2))))
        span = dilation[-1] * (kernel[-1] - 1) + 1
        smallest = max(1, span - sum(pairs[-1]), max(pairs[-1]) + 1 if mode != "zeros" else 1)
        size.append(draw(st.integers(smallest, smallest + 4)))
    # every way to write a padding: pairs, "SAME", "VALID", and where the two sides are equal also ints
    padding = draw(st.sampled_from(["pairs", "SAME", "ints"]))
    if padding == "SAME" and mode == "zeros":
        axes = zip(size, kernel, stride, dilation, strict=True)
        pairs = [reference.same_padding(*axis) for axis in axes]
    elif padding == "ints" and all(a == b for a, b in pairs):
        padding = pairs[0][0] if len(set(pairs)) == 1 else tuple(a for a, _ in pairs)
    else:
        padding = tuple(pairs)
    arguments = {
        "stride": stride[0] if len(set(stride)) == 1 else tuple(stride),
        "padding": padding,
        "dilation": dilation[0] if len(set(dilation)) == 1 else tuple(dilation),
        "groups": groups,
    }
    inputs, outputs = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    x = (draw(st.integers(1, 2)), *size, groups * inputs)
    w = (*kernel, inputs, groups * outputs)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng, x, w, {**arguments, "padding_mode": mode}, (stride, pairs, dilation, groups, mode)


@st.composite
def pool_cases(draw):
    """(rng, x's shape, window, arguments of a pooling, the same as the reference's arguments)."""
    n = draw(st.integers(1, 3))
    ceil_mode = draw(st.booleans())
    plain = draw(st.booleans())  # neighboring windows that don't overlap, without padding: the commonest case
    window, stride, pairs, size = [], [], [], []
    for _ in range(n):
        k = draw(st.integers(1, 4 if n < 3 else 3))
        window.append(k)
        stride.append(k if plain else draw(st.integers(1, 3)))
        pairs.append((0, 0) if plain else (draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))))
        smallest = max(1, k - sum(pairs[-1]))
        size.append(draw(st.integers(smallest, smallest + 5)))
    arguments = {"padding": tuple(pairs), "ceil_mode": ceil_mode}
    if not plain or draw(st.booleans()):
        arguments["stride"] = tuple(stride)
    x = (draw(st.integers(1, 2)), *size, draw(st.integers(1, 2)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng, x, tuple(window), arguments, (window, stride, pairs, ceil_mode)
