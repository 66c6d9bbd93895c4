"""Convolution as it is taught, against NumPy and the layer of the models."""

import jax.numpy as jnp
import pytest
import reference
from compare import check, conv_cases, fast_conv, normal, properties
from hypothesis import given

from fcnn.nn.teaching import conv_im2col, conv_sliding, im2col

SLOW = (conv_sliding, conv_im2col)


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
    ways = SLOW if arguments["padding_mode"] != "zeros" else (*SLOW, fast_conv)
    check("conv", lambda *inputs: [f(*inputs, **arguments) for f in ways], (x, w, bias), [y] * len(ways))


def test_im2col_has_a_row_of_what_each_window_sees():
    x = jnp.arange(2.0 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    columns = im2col(x, (3, 2), stride=(1, 2))
    assert columns.shape == (2, 2, 2, 6, 3)
    assert jnp.array_equal(columns[1, 1, 1], x[1, 1:4, 2:4].reshape(6, 3))
    assert jnp.array_equal(im2col(x, 3, padding=1, dilation=2)[0, 0, 0, 4], x[0, 1, 1])  # the tap in the middle


X, W = (1, 5, 5, 4), (3, 3, 4, 6)


@pytest.mark.parametrize("function", SLOW)
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


@pytest.mark.parametrize("function", SLOW)
def test_an_error_of_the_bias(function):
    with pytest.raises(ValueError, match=r"bias must have shape \(6,\), got \(5,\)"):
        function(jnp.ones(X), jnp.ones(W), jnp.ones(5))
