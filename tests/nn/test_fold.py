import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import check, fast_conv, normal, properties
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import fold_into


@properties
@given(st.integers(0, 2), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_folded_layer_gives_what_layer_and_norm_gave(n, groups, has_bias, seed):
    rng = np.random.default_rng(seed)
    kernel = normal(rng, *(3,) * n, 2, 2 * groups) if n else normal(rng, 2 * groups, 3)
    x = normal(rng, 2, *(5,) * n, 2 * groups)
    bias, scale, bias_bn, mean, var = normal(rng, 5, kernel.shape[-1])
    var = np.abs(var)

    def layer(x, w, b):
        return fast_conv(x, w, b, stride=1, padding=0, dilation=1, groups=groups) if n else x @ w + b.reshape(1, -1)

    if not has_bias:
        bias = 0 * bias

    def folded(x, kernel, bias, *norm):
        scale, bias_bn, mean, var = norm
        kernel, bias = fold_into(kernel, bias if has_bias else None, scale, bias_bn, mean, var, 1e-3)
        return layer(x, kernel, bias)

    inputs = (x, kernel, bias, scale, bias_bn, mean, var)
    arguments = (1,) * n, ((0, 0),) * n, (1,) * n, groups
    expected = reference.conv(x, kernel, bias, *arguments) if n else x @ kernel + bias
    expected = (expected - mean) / np.sqrt(var + 1e-3) * scale + bias_bn
    check("fold_into", folded, inputs, expected)


def test_errors_of_fold_into():
    v = jnp.ones(3)
    with pytest.raises(ValueError, match=r"fold_into: .*\(3,\), \(4,\)"):
        fold_into(jnp.ones((2, 3)), None, v, v, v, jnp.ones(4))
    with pytest.raises(ValueError, match=r"fold_into: bias must have shape \(3,\), got \(2,\)"):
        fold_into(jnp.ones((2, 3)), jnp.ones(2), v, v, v, v)
