"""The layer `Conv`: Flax's, with an int for both axes and no padding unless asked for."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from compare import apply

from fcnn.nn import Conv


@pytest.mark.parametrize("padding", [0, 1, "SAME", ((1, 2), (0, 1))])
def test_it_is_flax_s(padding):
    x = jax.random.normal(jax.random.key(0), (2, 8, 9, 4))
    theirs = nn.Conv(6, (3, 3), 2, padding, kernel_dilation=2, feature_group_count=2)
    ours = Conv(6, 3, 2, padding, kernel_dilation=2, feature_group_count=2)
    variables = theirs.init(jax.random.key(1), x)
    assert jax.eval_shape(theirs.init, jax.random.key(1), x) == jax.eval_shape(ours.init, jax.random.key(1), x)
    assert jnp.allclose(apply(ours, variables, x), apply(theirs, variables, x), atol=1e-6)


def test_without_padding():
    y, variables = Conv(6, (3, 1)).init_with_output(jax.random.key(0), jnp.ones((2, 8, 8, 3)))
    assert y.shape == (2, 6, 8, 6)
    assert [leaf.shape for leaf in jax.tree.leaves(variables)] == [(6,), (3, 1, 3, 6)]


def test_it_computes_in_its_dtype_and_keeps_float32_parameters():
    y, variables = Conv(6, 3, dtype=jnp.bfloat16).init_with_output(jax.random.key(0), jnp.ones((2, 8, 8, 3)))
    assert y.dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
