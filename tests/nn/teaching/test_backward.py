import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compare import LIMITS, conv_cases, error, fast_conv, few, normal, pool_cases, properties, quick
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import max_pool
from fcnn.nn.teaching import (
    conv_backward,
    dense_backward,
    max_pool_backward,
    relu_backward,
    softmax_cross_entropy_backward,
)


def compare_with_grad(forward, backward, rng, *inputs, smallest=1e-3):
    """`backward(*inputs, dy)` must be what `jax.vjp` of `forward` makes of a random dy."""
    dy = normal(rng, *jax.eval_shape(forward, *map(jnp.asarray, inputs)).shape)

    def both(*arguments):
        *inputs, dy = arguments
        return jax.vjp(forward, *inputs)[1](dy), backward(*arguments)

    for dtype, limit in LIMITS.items():
        with jax.enable_x64(dtype is np.float64), jax.numpy_dtype_promotion("strict"):
            arrays = [jnp.asarray(v, dtype) for v in (*inputs, dy)]
            expected, actual = jax.jit(both, compiler_options=quick())(*arrays)
            expected, actual = jax.tree.leaves(expected), jax.tree.leaves(actual)
            assert len(expected) == len(actual)
            for one, other in zip(actual, expected, strict=True):
                assert one.dtype == dtype
                assert error(one, np.asarray(other, np.float64), smallest) <= limit


@properties
@given(conv_cases())
def test_convolution(case):
    rng, x, w, arguments, _ = case
    del arguments["padding_mode"]
    x, w, bias = normal(rng, *x), normal(rng, *w), normal(rng, w[-1])
    compare_with_grad(
        lambda x, w, bias: fast_conv(x, w, bias, **arguments),
        lambda x, w, bias, dy: conv_backward(x, w, dy, **arguments),
        rng,
        *(x, w, bias),
    )


@few
@given(pool_cases(), st.booleans())
def test_max_pooling(case, ties):
    rng, x, window, arguments, _ = case
    x = rng.integers(0, 3, x).astype(np.float64) if ties else normal(rng, *x)
    compare_with_grad(
        lambda x: max_pool(x, window, **arguments),
        lambda x, dy: max_pool_backward(x, dy, window, **arguments),
        rng,
        x,
    )


@few
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_dense_and_relu(batch, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    x, w, bias = normal(rng, batch, inputs), normal(rng, inputs, outputs), normal(rng, 1, outputs)
    compare_with_grad(
        lambda x, w, bias: x @ w + bias,
        lambda x, w, bias, dy: [
            v.reshape(s) for v, s in zip(dense_backward(x, w, dy), (x.shape, w.shape, (1, -1)), strict=True)
        ],
        rng,
        *(x, w, bias),
    )
    x[0, 0] = 0
    compare_with_grad(jax.nn.relu, relu_backward, rng, x)


@few
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 100.0]))
def test_softmax_cross_entropy(batch, classes, seed, scale):
    rng = np.random.default_rng(seed)
    logits = scale * normal(rng, batch, classes)
    soft = rng.dirichlet(np.ones(classes), batch)
    hard = rng.integers(0, classes, batch)
    soft = jnp.asarray(soft, jnp.float32)
    compare_with_grad(
        lambda z: optax.losses.softmax_cross_entropy(z, soft.astype(z.dtype)),
        lambda z, dy: softmax_cross_entropy_backward(z, soft.astype(z.dtype), dy),
        rng,
        logits,
        smallest=1.0,  # the gradient is a difference of probabilities, and has their digits
    )
    compare_with_grad(
        lambda z: optax.losses.softmax_cross_entropy_with_integer_labels(z, jnp.asarray(hard)),
        lambda z, dy: softmax_cross_entropy_backward(z, jnp.asarray(hard), dy),
        rng,
        logits,
        smallest=1.0,  # the gradient is a difference of probabilities, and has their digits
    )


def test_the_mean_loss_over_a_batch():
    logits, labels = jnp.arange(6.0).reshape(2, 3), jnp.array([0, 2])
    gradient = jax.grad(lambda z: optax.losses.softmax_cross_entropy_with_integer_labels(z, labels).mean())(logits)
    assert jnp.allclose(softmax_cross_entropy_backward(logits, labels) / 2, gradient, atol=1e-7)


X, W = jnp.ones((2, 4, 4, 4)), jnp.ones((3, 3, 4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv_backward(X, W, X), r"conv_backward: dy .*\(2, 2, 2, 2\), got \(2, 4, 4, 4\)"),
        (lambda: conv_backward(X, X, X), r"conv_backward: the window spans 4|conv_backward: .*\(2, 4, 4, 4\)"),
        (lambda: max_pool_backward(X, X, 2), r"max_pool_backward: dy .*\(2, 2, 2, 4\), got \(2, 4, 4, 4\)"),
        (lambda: max_pool_backward(X, X, 5), r"max_pool_backward: .*\(5, 5\).*\(2, 4, 4, 4\)"),
        (lambda: dense_backward(X, W, X), r"dense_backward: .*\(2, 4, 4, 4\), \(3, 3, 4, 2\)"),
        (lambda: relu_backward(X, W), r"relu_backward: .*\(2, 4, 4, 4\) and \(3, 3, 4, 2\)"),
        (lambda: softmax_cross_entropy_backward(X, W), r"softmax_cross_entropy_backward: .*\(2, 4, 4, 4\)"),
    ],
)
def test_errors_are_one_line_with_the_shapes(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
