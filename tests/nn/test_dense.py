"""A dense layer of images is Flax's, and on a CPU no product of matrices by XLA."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnn.nn import ACTIVATIONS, Dense, conv_norm_act, cpu_convolutions


@pytest.mark.parametrize("shape", [(2, 5, 3, 16), (4, 16), (2, 3, 16)])
def test_values_and_gradients_are_flaxs(shape):
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    ours, reference = Dense(24), nn.Dense(24)
    variables = reference.init(jax.random.key(0), x)

    def loss(layer, variables, x):
        return jnp.square(layer.apply(variables, x)).sum()

    for found, expected in zip(
        jax.tree.leaves(jax.jit(jax.value_and_grad(lambda *a: loss(ours, *a), (0, 1)))(variables, x)),
        jax.tree.leaves(jax.jit(jax.value_and_grad(lambda *a: loss(reference, *a), (0, 1)))(variables, x)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


class Hidden(nn.Module):
    """A dense layer and an activation at each position."""

    @nn.compact
    def __call__(self, x):
        return conv_norm_act(x, Dense(32, name="fc"), None, ACTIVATIONS["gelu"])


def test_with_an_activation_it_is_one_operation():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 16)), jnp.float32)
    variables = Hidden().init(jax.random.key(0), x)
    kernel, bias = (np.asarray(variables["params"]["fc"][name], np.float64) for name in ("kernel", "bias"))
    program = jax.jit(Hidden().apply)
    expected = jax.nn.gelu(jnp.asarray(np.asarray(x, np.float64) @ kernel + bias), approximate=False)
    np.testing.assert_allclose(program(variables, x), expected, atol=2e-6)
    if cpu_convolutions().startswith("oneDNN"):
        assert "dot" not in program.lower(variables, x).as_text()
