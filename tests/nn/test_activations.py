import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import check, few
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import ACTIVATIONS, activation
from fcnn.utils.errors import UserError

NAMES = list(reference.ACTIVATIONS)


@few
@given(st.lists(st.floats(-30, 30, width=32), min_size=32, max_size=32))
def test_values(entries):
    x = np.array(entries)
    expected = [np.array([reference.ACTIVATIONS[name](v) for v in entries]) for name in NAMES]
    check("activations", lambda x: [activation(name)(x) for name in NAMES], (x,), expected)


@few
@given(st.lists(st.floats(-20, 20).filter(lambda v: min(abs(v), abs(abs(v) - 3)) > 0.01), min_size=8, max_size=8))
def test_gradients_are_the_slopes(entries):
    step = 1e-5
    for name in NAMES:
        f = reference.ACTIVATIONS[name]
        slopes = [(f(v + step) - f(v - step)) / (2 * step) for v in entries]
        with jax.enable_x64(True):
            gradients = jax.vmap(jax.grad(activation(name)))(jnp.array(entries))
        assert np.allclose(gradients, slopes, atol=1e-8, rtol=1e-7), name


def test_nothing_overflows_and_relu_is_flat_at_0():
    x = jnp.array([-1e30, -100.0, 0.0, 100.0, 1e30])
    for name in NAMES:
        y, gradient = jax.vmap(jax.value_and_grad(activation(name)))(x)
        assert not jnp.isnan(y).any(), name
        assert not jnp.isnan(gradient[1:4]).any(), name
    assert jax.grad(activation("relu"))(0.0) == 0


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_low_precision_stays_what_it_is(dtype):
    x = jnp.array([-2.0, 0.5], dtype)
    for name in NAMES:
        with jax.numpy_dtype_promotion("strict"):
            y = activation(name)(x)
        assert y.dtype == dtype
        expected = [reference.ACTIVATIONS[name](v) for v in (-2.0, 0.5)]
        assert np.allclose(y.astype(jnp.float32), expected, atol=0.02), name


def test_selu_keeps_mean_0_and_variance_1():
    z = np.linspace(-12, 12, 200001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    with jax.enable_x64(True):
        y = np.asarray(activation("selu")(jnp.asarray(z)))
    assert abs((y * density).sum()) < 1e-7
    assert abs((y * y * density).sum() - 1) < 1e-6


def test_every_name_has_a_reference():
    assert set(ACTIVATIONS) == set(NAMES)


@pytest.mark.parametrize(("name", "near"), [("hardswish", "hard_swish"), ("leakyrelu", "leaky_relu")])
def test_an_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(UserError, match=f"unknown activation '{name}'; did you mean {near}"):
        activation(name)
