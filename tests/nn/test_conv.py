import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import apply, check, conv_cases, few, normal, properties
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import Conv, conv, conv_1x1, conv_im2col, conv_sliding, im2col

ALL = (conv, conv_sliding, conv_im2col)


@properties
@given(conv_cases())
def test_convolution_of_zero_padded_input(case):
    compare_all(*case)


@properties
@given(conv_cases(modes=("reflect", "edge", "circular")))
def test_convolution_in_the_other_padding_modes(case):
    compare_all(*case)


def compare_all(rng, x, w, arguments, expected):
    x, w, bias = normal(rng, *x), normal(rng, *w), normal(rng, w[-1])
    y = reference.conv(x, w, bias, *expected)
    check("conv", lambda *inputs: [f(*inputs, **arguments) for f in ALL], (x, w, bias), [y, y, y])


@few
@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_1x1_convolution_is_a_matrix_product(n, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    x, w, bias = normal(rng, 2, *range(3, 3 + n), inputs), normal(rng, inputs, outputs), normal(rng, outputs)
    y = np.tensordot(x, w, 1) + bias
    kernel, f = (1,) * n + w.shape, conv if n else conv_1x1
    check("conv_1x1", lambda x, w, b: [conv_1x1(x, w, b), f(x, w.reshape(kernel), b)], (x, w, bias), [y, y])


def test_im2col_has_a_row_of_what_each_window_sees():
    x = jnp.arange(2.0 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    columns = im2col(x, (3, 2), stride=(1, 2))
    assert columns.shape == (2, 2, 2, 6, 3)
    assert jnp.array_equal(columns[1, 1, 1], x[1, 1:4, 2:4].reshape(6, 3))
    assert jnp.array_equal(im2col(x, 3, padding=1, dilation=2)[0, 0, 0, 4], x[0, 1, 1])  # the tap in the middle


def test_valid_is_no_padding():
    x, w = jnp.ones((1, 7, 7, 2)), jnp.ones((3, 3, 2, 4))
    assert jnp.array_equal(conv(x, w, padding="VALID"), conv(x, w))
    assert conv(x, w).shape == (1, 5, 5, 4)


@pytest.mark.parametrize("padding", [0, "SAME", ((1, 2), (0, 1))])
def test_layer_is_interchangeable_with_flax_s(padding):
    x = jax.random.normal(jax.random.key(0), (2, 8, 9, 4))
    flax_padding = ((0, 0), (0, 0)) if padding == 0 else padding
    theirs = flax.linen.Conv(6, (3, 2), 2, flax_padding, kernel_dilation=2, feature_group_count=2)
    ours = Conv(6, (3, 2), 2, padding, 2, groups=2)
    variables = theirs.init(jax.random.key(1), x)
    assert jax.eval_shape(theirs.init, jax.random.key(1), x) == jax.eval_shape(ours.init, jax.random.key(1), x)
    assert jnp.allclose(apply(ours, variables, x), apply(theirs, variables, x), atol=1e-6)


def test_layer_computes_in_its_dtype_and_keeps_float32_parameters():
    layer = Conv(6, (3,), dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 8, 3)))
    assert y.dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert Conv(6, 3).init_with_output(jax.random.key(0), jnp.ones((2, 8, 3), jnp.bfloat16))[0].dtype == jnp.bfloat16


def test_convolution_runs_on_numpy_arrays():
    x, w = np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 1), np.float32)
    assert conv(x, w).shape == (1, 2, 2, 1)  # pyright: ignore (NumPy arrays are taken too, which is the point)


X, W = (1, 5, 5, 4), (3, 3, 4, 6)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    ("x", "w", "arguments", "shape"),
    [
        (X, (3, 3, 3, 6), {}, "(3, 3, 3, 6)"),  # channels
        (X, (3, 3, 2, 5), {"groups": 2}, "(3, 3, 2, 5)"),  # outputs that don't divide by groups
        ((1, 5, 5, 3), (3, 3, 1, 6), {"groups": 2}, "(1, 5, 5, 3)"),  # inputs that don't
        (X, W, {"groups": 0}, "(1, 5, 5, 4)"),
        (X, (7, 3, 4, 6), {}, "7"),  # window larger than the input
        (X, W, {"dilation": 3}, "7"),
        ((5, 5, 4), W, {}, "(5, 5, 4)"),  # rank
        ((5, 4), (4, 6), {}, "(5, 4)"),
        (X, W, {"stride": 0}, "0"),
        (X, W, {"stride": (1, 1, 1)}, "(1, 1, 1)"),
        (X, W, {"padding": -1}, "-1"),
        (X, W, {"padding": (1, 1, 1)}, "(1, 1, 1)"),
        (X, W, {"padding": "same"}, "same"),
        (X, W, {"padding": 5, "padding_mode": "reflect"}, "(1, 5, 5, 4)"),
        (X, W, {"padding": 6, "padding_mode": "circular"}, "(1, 5, 5, 4)"),
        (X, W, {"padding_mode": "mirror"}, "mirror"),
    ],
)
def test_errors_are_one_line_with_what_was_wrong(function, x, w, arguments, shape):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        function(jnp.ones(x), jnp.ones(w), **arguments)
    assert str(caught.value).startswith(f"{function.__name__}: ")
    assert shape in str(caught.value)


def test_errors_of_bias_type_and_layer():
    x, w = jnp.ones(X), jnp.ones(W)
    for function in ALL:
        with pytest.raises(ValueError, match=r"bias must have shape \(6,\), got \(5,\)"):
            function(x, w, jnp.ones(5))
    with pytest.raises(ValueError, match=r"conv: x \(1, 5, 5, 4\) is float32 but w .* is float16"):
        conv(x, w.astype(jnp.float16))
    with pytest.raises(ValueError, match=r"conv_1x1: .*\(1, 5, 5, 4\) and \(3, 3, 4, 6\)"):
        conv_1x1(x, w)
    with pytest.raises(ValueError, match=r"Conv: 3 groups .*\(1, 5, 5, 4\)"):
        Conv(6, (3, 3), groups=3).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"Conv on x \(1, 5, 5, 4\): kernel_size .*\(3, 3, 3\)"):
        Conv(6, (3, 3, 3)).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"Conv: x \(1, 5, 5, 4\) is uint8"):
        Conv(6, (3, 3)).init(jax.random.key(0), x.astype(jnp.uint8))
    assert Conv(6, (3, 3), dtype=jnp.float32).init_with_output(jax.random.key(0), x.astype(jnp.uint8))[0].ndim == 4
