import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import check, normal, properties
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import local_response_norm

images = st.lists(st.integers(2, 5), min_size=1, max_size=3)  # the spatial axes
seeds = st.integers(0, 2**32 - 1)


@properties
@given(images, st.integers(1, 8), st.integers(1, 6), seeds)
def test_local_response_norm(spatial, channels, size, seed):
    x = normal(np.random.default_rng(seed), 2, *spatial, channels)
    expected = reference.local_response_norm(x, size, 0.3, 0.6, 1.7)
    check("local_response_norm", lambda x: local_response_norm(x, size, alpha=0.3, beta=0.6, k=1.7), (x,), expected)


def test_local_response_norm_of_the_paper():
    x = normal(np.random.default_rng(0), 2, 3, 3, 7) * 10
    total = sum(np.pad(x**2, ((0, 0),) * 3 + ((2, 2),))[..., j : j + 7] for j in range(5))
    expected = x / (2 + 1e-4 * total) ** 0.75
    check("local_response_norm", lambda x: local_response_norm(x, 5, 5e-4, 0.75, 2.0), (x,), expected)


def test_low_precision_is_averaged_in_float32_and_comes_back_as_it_was():
    x = jnp.asarray(300 + normal(np.random.default_rng(0), 4, 9, 9, 4), jnp.float16)  # 300² is beyond float16
    y = local_response_norm(x, 3)
    assert y.dtype == jnp.float16
    assert jnp.isfinite(y).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: local_response_norm(jnp.ones((2, 4, 4, 6)), 0), r"local_response_norm: size .*0.*\(2, 4, 4, 6\)"),
        (lambda: local_response_norm(jnp.ones((2, 6), int), 3), r"local_response_norm: x must be floating .*int32"),
    ],
)
def test_errors_are_one_line_with_the_shapes(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
