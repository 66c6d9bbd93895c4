import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnn.nn import ACTIVATIONS, INITIALIZERS, initializer, initializer_for
from fcnn.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("unoptimized")

SHAPES = [(5, 3, 20, 60), (3, 40, 50), (120, 90)]  # two taps' axes, one, none: 18000, 6000 and 10800 entries


def fans(shape):
    taps = math.prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1]


VARIANCE = {
    "lecun": lambda shape: 1 / fans(shape)[0],
    "xavier": lambda shape: 2 / sum(fans(shape)),
    "glorot": lambda shape: 2 / sum(fans(shape)),
    "he": lambda shape: 2 / fans(shape)[0],
    "kaiming": lambda shape: 2 / fans(shape)[0],
}


def draw(create, shape, seed=0):
    return np.asarray(create(jax.random.key(seed), shape, jnp.float32), np.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", VARIANCE)
def test_normal_has_its_mean_variance_and_shape(family, shape):
    w, variance = draw(initializer(f"{family}_normal"), shape), VARIANCE[family](shape)
    assert abs(w.mean()) < 4 * math.sqrt(variance / w.size)
    assert abs(w.var() / variance - 1) < 4 * math.sqrt(2 / w.size)  # four deviations of a normal sample's variance
    assert abs((w**4).mean() / variance**2 - 3) < 4 * math.sqrt(96 / w.size)  # a truncated normal has about 2.4
    assert w.shape == shape


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", VARIANCE)
def test_uniform_has_the_variance_of_the_normal(family, shape):
    w, variance = draw(initializer(f"{family}_uniform"), shape), VARIANCE[family](shape)
    bound = math.sqrt(3 * variance)
    assert abs(w.mean()) < 4 * math.sqrt(variance / w.size)
    assert abs(w.var() / variance - 1) < 4 * math.sqrt(0.8 / w.size)
    assert 0.99 * bound < w.max() <= bound * (1 + 1e-6)
    assert -0.99 * bound > w.min() >= -bound * (1 + 1e-6)


def test_orthogonal():
    for shape in [(3, 3, 2, 4), (4, 30), (30, 4), (9, 9)]:
        w = draw(initializer("orthogonal"), shape).reshape(-1, shape[-1])
        product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
        assert np.allclose(product, np.eye(len(product)), atol=1e-5)
    signs = [draw(initializer("orthogonal"), (2, 2), seed)[0, 0] > 0 for seed in range(40)]
    assert 8 < sum(signs) < 32  # random in its signs too, which a bare QR isn't


def test_normal():
    w = draw(initializer("normal"), (200, 100))
    assert abs(w.std() / 0.01 - 1) < 0.02
    assert abs(w.mean()) < 4 * 0.01 / math.sqrt(w.size)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_type_and_dependence_on_the_key(name):
    create = initializer(name)
    one, other = (create(jax.random.key(seed), (8, 8), jnp.bfloat16) for seed in (0, 1))
    assert one.dtype == jnp.bfloat16
    assert jnp.array_equal(one, create(jax.random.key(0), (8, 8), jnp.bfloat16))
    assert not jnp.array_equal(one, other)


def second_moment(name, weights, layers=6, width=400):
    """What is left of a signal of second moment 1 after some dense layers with this activation."""
    x = jax.random.normal(jax.random.key(0), (100, width))
    for key in jax.random.split(jax.random.key(1), layers):
        x = (
            ACTIVATIONS[name](x @ weights(key, (width, width), jnp.float32))
            if name
            else x @ weights(key, (width, width))
        )
    return float(jnp.mean(x * x))


def test_the_right_initializer_keeps_the_signal():
    """Relu halves the second moment that He's initializer has doubled; LeCun's would leave 1 / 64 after 6 layers."""
    assert 0.7 < second_moment("relu", initializer_for("relu")) < 1.4
    assert 0.8 < second_moment("selu", initializer_for("selu")) < 1.2
    assert 0.8 < second_moment(None, initializer_for(None)) < 1.2
    assert second_moment("relu", initializer("lecun_normal")) < 1 / 32


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        ("relu", 2 / 120),
        ("leaky_relu", 2 / (1.0001 * 120)),
        ("silu", 2 / 120),
        ("tanh", 2 / 210),
        ("selu", 1 / 120),
        (None, 1 / 120),
    ],
)
def test_default_for_an_activation(activation, variance):
    w = draw(initializer_for(activation), (120, 90))
    assert abs(w.var() / variance - 1) < 4 * math.sqrt(2 / w.size)


def test_every_activation_has_a_default():
    for name in ACTIVATIONS:
        assert initializer_for(name)(jax.random.key(0), (8, 8), jnp.float32).shape == (8, 8)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown initializer 'he_norm'; did you mean he_normal"):
        initializer("he_norm")
    with pytest.raises(UserError, match="unknown activation 'gelo'; did you mean gelu"):
        initializer_for("gelo")
