"""The convolution of tiny images: the same numbers as XLA's, on a CPU as a product, elsewhere as XLA's own."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from fcnn.nn import conv_general_dilated


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "options"),
    [
        ((1, 1), (3, 3), 1, {}),
        ((2, 2), (3, 3), 1, {}),
        ((2, 1), (3, 3), 1, {}),
        ((2, 2), (1, 1), 0, {}),
        ((2, 2), (2, 1), ((1, 0), (0, 0)), {}),
        ((2, 2), (3, 3), "SAME", {}),
        ((3, 3), (3, 3), 1, {}),
        ((2, 2), (3, 3), 1, {"strides": 2}),
        ((2, 2), (3, 3), 1, {"feature_group_count": 2}),
        ((2, 2), (2, 2), 1, {"kernel_dilation": 2}),
    ],
)
def test_the_same_numbers_and_gradients(size, kernel, padding, options):
    x = jax.random.normal(jax.random.key(0), (3, *size, 4))
    theirs = nn.Conv(6, kernel, padding=padding, **options)
    ours = nn.Conv(6, kernel, padding=padding, conv_general_dilated=conv_general_dilated, **options)
    variables = jax.jit(theirs.init)(jax.random.key(1), x)

    def results(model):
        return jax.jit(jax.value_and_grad(lambda v, x: (model.apply(v, x) ** 2).sum(), argnums=(0, 1)))(variables, x)

    with jax.numpy_dtype_promotion("strict"):
        for a, b in zip(jax.tree.leaves(results(ours)), jax.tree.leaves(results(theirs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("tpu", 1), ("cuda", 1)])
def test_the_choice_is_made_by_the_platform_that_a_program_is_lowered_for(platform, convolutions):
    model = nn.Conv(5, (3, 3), padding=1, conv_general_dilated=conv_general_dilated)
    x = jax.random.normal(jax.random.key(0), (3, 2, 2, 4))
    variables = model.init(jax.random.key(1), x)
    text = jax.jit(model.apply).trace(variables, x).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == convolutions
