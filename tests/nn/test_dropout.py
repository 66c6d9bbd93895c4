import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import apply

from fcnn.nn import Dropout, StochasticDepth, dropout

pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_inverted_dropout_is_scaling_by_the_keep_probability_at_test_time(rate):
    """The original form drops in training and multiplies weights by 1 - rate at test time. Both give the same network:

    with one mask, inverted dropout is the original divided by 1 - rate, in training as at test time (where inverted
    dropout is the identity and the original multiplies by 1 - rate); so the next layer's weights, 1 - rate times as
    large in the one as in the other, make up for it in both.
    """
    x = jax.random.normal(jax.random.key(0), (64, 100))
    w = jax.random.normal(jax.random.key(1), (100, 10))  # of the layer after inverted dropout
    original_w = w / (1 - rate)  # of the layer after the original's

    inverted = dropout(x, rate, jax.random.key(2))
    mask = inverted != 0
    original = jnp.where(mask, x, 0.0)
    assert jnp.allclose(inverted * (1 - rate), original, atol=1e-6)
    assert jnp.allclose(inverted @ w, original @ original_w, atol=1e-3)  # in training
    assert jnp.allclose(x @ w, (x * (1 - rate)) @ original_w, atol=1e-4)  # at test time


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_mean_over_masks_is_what_is_computed_at_test_time(rate):
    x, w = jax.random.normal(jax.random.key(0), (1, 20)), jax.random.normal(jax.random.key(1), (20, 3))
    n = 40_000
    outputs = dropout(jnp.tile(x, (n, 1)), rate, jax.random.key(2)) @ w
    evaluated = apply(Dropout(rate), {}, x, train=False) @ w
    deviation = np.sqrt(rate / (1 - rate) * np.asarray((x.ravel()[:, None] * w) ** 2).sum(0) / n)
    assert (np.abs(outputs.mean(0) - evaluated[0]) < 4 * deviation).all()
    assert abs((outputs.var(0) / (n * deviation**2)).mean() - 1) < 0.05


def test_an_example_s_mask_depends_on_its_index_only():
    x, key = jnp.ones((8, 50)), jax.random.key(0)
    whole = dropout(x, 0.5, key)
    halves = [dropout(x[:4], 0.5, key, index=jnp.arange(i, i + 4)) for i in (0, 4)]
    assert jnp.array_equal(whole, jnp.concatenate(halves))
    assert len({tuple(row) for row in whole.tolist()}) == 8
    assert not jnp.array_equal(whole, dropout(x, 0.5, jax.random.key(1)))


def test_layer_draws_from_the_dropout_stream_in_training_only():
    x, layer = jnp.ones((4, 50), jnp.bfloat16), Dropout(0.5)
    assert layer.apply({}, x, train=False) is x
    y = apply(layer, {}, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert y.dtype == x.dtype
    assert set(y.astype(jnp.float32).ravel().tolist()) == {0.0, 2.0}
    assert jnp.array_equal(dropout(x, 0.0, jax.random.key(0)), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_rate_outside_its_range(rate):
    with pytest.raises(ValueError, match=f"^dropout: rate must be in .*{rate}$"):
        dropout(jnp.ones((2, 2)), rate, jax.random.key(0))


def test_stochastic_depth_drops_whole_examples_whatever_the_batch_is_split_into():
    x, key = jax.random.normal(jax.random.key(0), (64, 3, 3, 4)), jax.random.key(1)
    layer = StochasticDepth(0.25)
    assert layer.apply({}, x, train=False) is x
    y = np.asarray(apply(layer, {}, x, train=True, rngs={"dropout": key}))
    ratio = (y / x).reshape(64, -1)
    assert np.allclose(ratio, ratio[:, :1], rtol=1e-5)
    assert set(ratio[:, 0].round(4).tolist()) == {0.0, float(np.float32(4 / 3).round(4))}
    assert 0.1 < (ratio[:, 0] == 0).mean() < 0.4
    part = apply(layer, {}, x[40:], train=True, rngs={"dropout": key}, index=jnp.arange(40, 64))
    assert np.array_equal(part, y[40:])
