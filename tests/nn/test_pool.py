import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import check, normal, pool_cases, properties, quick
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import adaptive_avg_pool, avg_pool, cpu_convolutions, global_avg_pool, max_pool


@properties
@given(pool_cases(), st.booleans())
def test_max_pool_and_its_gradient_which_goes_to_the_first_of_ties(case, ties):
    rng, x, window, arguments, expected = case
    x = rng.integers(0, 3, x).astype(np.float64) if ties else normal(rng, *x)
    y, _ = reference.max_pool(x, *expected)
    dy = normal(rng, *y.shape)

    def value_and_gradient(x, dy):
        y, pullback = jax.vjp(lambda x: max_pool(x, window, **arguments), x)
        return y, pullback(dy)[0]

    check("max_pool", value_and_gradient, (x, dy), (y, reference.max_pool_gradient(x, dy, *expected)))


@properties
@given(pool_cases(), st.booleans())
def test_avg_pool(case, count_include_pad):
    rng, x, window, arguments, expected = case
    x = normal(rng, *x)
    y = reference.avg_pool(x, *expected, count_include_pad=count_include_pad)
    check("avg_pool", lambda x: avg_pool(x, window, **arguments, count_include_pad=count_include_pad), (x,), y)


@properties
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=3), st.integers(0, 99))
def test_adaptive_and_global_average_pooling(axes, seed):
    x = normal(np.random.default_rng(seed), 2, *(size for size, _ in axes), 2)
    sizes = tuple(size for _, size in axes)
    expected = reference.adaptive_avg_pool(x, sizes), x.mean(tuple(range(1, x.ndim - 1)))
    check("adaptive_avg_pool", lambda x: (adaptive_avg_pool(x, sizes), global_avg_pool(x)), (x,), expected)


# What PyTorch 2.13 gives for x = 1, 2, ..., W: (W, window, stride, padding, ceil_mode), max, avg, avg without padding
TORCH = [
    ((5, 2, 2, 0, True), [2, 4, 5], [1.5, 3.5, 5], [1.5, 3.5, 5]),
    ((5, 2, 2, 0, False), [2, 4], [1.5, 3.5], [1.5, 3.5]),
    ((5, 3, 2, 1, True), [2, 4, 5], [1, 3, 3], [1.5, 3, 4.5]),
    ((6, 3, 2, 1, True), [2, 4, 6, 6], [1, 3, 5, 3], [1.5, 3, 5, 6]),
    ((4, 2, 3, 1, True), [1, 4], [0.5, 3.5], [1, 3.5]),
    ((2, 3, 2, 0, True), [2], [1.5], [1.5]),
    ((7, 4, 3, 2, True), [2, 5, 7], [0.75, 3.5, 4.5], [1.5, 3.5, 6]),
    ((8, 4, 3, 2, True), [2, 5, 8, 8], [0.75, 3.5, 6.5, 8 / 3], [1.5, 3.5, 6.5, 8]),
]


@pytest.mark.parametrize(("arguments", "largest", "mean", "mean_without_padding"), TORCH)
def test_windows_at_the_border_are_pytorch_s(arguments, largest, mean, mean_without_padding):
    size, window, stride, padding, ceil_mode = arguments
    x = jnp.arange(1.0, size + 1).reshape(1, -1, 1)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}

    @functools.partial(jax.jit, compiler_options=quick())
    def pools(x):
        without = avg_pool(x, window, **options, count_include_pad=False)
        return [y.ravel() for y in (max_pool(x, window, **options), avg_pool(x, window, **options), without)]

    for y, expected in zip(pools(x), (largest, mean, mean_without_padding), strict=True):
        assert y.tolist() == pytest.approx(expected, rel=1e-6)


def test_max_pool_of_other_values():
    x = jnp.array([[1, 5], [3, -7]], jnp.int32).reshape(1, 4, 1)
    assert max_pool(x, 2, padding=1).ravel().tolist() == [1, 5, -7]
    nan = jnp.array([1.0, jnp.nan, 2.0, 3.0, jnp.nan, 4.0]).reshape(1, 6, 1)
    assert jnp.isnan(max_pool(nan, 3)).all()
    assert max_pool(jnp.full((1, 2, 1), -jnp.inf), 3, stride=1, padding=1).ravel().tolist() == [-jnp.inf, -jnp.inf]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_first_of_ties_means_row_by_row_in_windows_of_any_size(size):
    x = jnp.zeros((1, size, size, 1)).at[0, 0, -1, 0].set(1.0).at[0, -1, 0, 0].set(1.0)
    gradient = jax.grad(lambda x: max_pool(x, size).sum())(x)[0, :, :, 0]
    assert jnp.argwhere(gradient == 1).tolist() == [[0, size - 1]]


@pytest.mark.skipif(not cpu_convolutions().startswith("oneDNN"), reason=cpu_convolutions())
def test_in_training_onednn_keeps_the_places():
    """Both programs of it are in the training program, and neither in one for two devices."""

    def gradient(x):
        return jax.grad(lambda x: jnp.square(max_pool(x, 3, stride=2, padding=1)).sum())(x)

    x = jax.random.normal(jax.random.key(0), (4, 9, 9, 16))
    texts = []
    for count in (1, 2):
        mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:count]), "b")
        placed = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("b")))
        texts.append(jax.jit(gradient).lower(placed).as_text())
    assert [text.count(name) for text in texts for name in (r"22max_pool\22", r"22max_pool_gradient\22")] == [
        1,
        1,
        0,
        0,
    ]


def test_low_precision_is_averaged_in_float32():
    x = jnp.full((1, 64, 64, 1), 1.0, jnp.float16).at[0, 0, 0, 0].set(2048)  # in float16 2048 + 1 = 2048
    for mean in jax.jit(lambda x: (avg_pool(x, 64), adaptive_avg_pool(x, 1), global_avg_pool(x)))(x):
        assert mean.dtype == jnp.float16
        assert float(mean.ravel()[0]) == 1.5


def test_forward_mode_and_second_derivatives_work():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)

    def f(x):
        return jnp.sum(max_pool(x, 2) ** 2)

    _, tangent = jax.jvp(f, (x,), (jnp.ones_like(x),))
    assert float(tangent) == pytest.approx(float(jax.grad(f)(x).sum()))
    assert jax.jit(jax.hessian(f))(x).sum() == 2 * max_pool(x, 2).size


X = (1, 4, 4, 2)


@pytest.mark.parametrize("function", [max_pool, avg_pool])
@pytest.mark.parametrize(
    ("x", "window", "arguments", "shape"),
    [
        (X, 5, {}, "(1, 4, 4, 2)"),
        (X, 5, {"ceil_mode": True, "stride": 1}, "(1, 4, 4, 2)"),
        ((4, 4), 2, {}, "(4, 4)"),
        ((1, 2, 2, 2, 2, 2), 2, {}, "(1, 2, 2, 2, 2, 2)"),
        (X, 3, {"padding": 2}, "(3, 3)"),
        (X, (2, 2, 2), {}, "(2, 2, 2)"),
        (X, 2, {"stride": 0}, "0"),
        (X, 0, {}, "0"),
    ],
)
def test_errors_are_one_line_with_what_was_wrong(function, x, window, arguments, shape):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        function(jnp.ones(x), window, **arguments)
    assert str(caught.value).startswith(f"{function.__name__}: ")
    assert shape in str(caught.value)


def test_averages_refuse_integers_and_wrong_ranks():
    for function in (lambda x: avg_pool(x, 1), global_avg_pool, lambda x: adaptive_avg_pool(x, 1)):
        with pytest.raises(ValueError, match=r"_avg_pool: .*int32 \(1, 4, 1\)|^avg_pool: .*int32 \(1, 4, 1\)"):
            function(jnp.ones((1, 4, 1), jnp.int32))
        with pytest.raises(ValueError, match=r"\(4, 1\)"):
            function(jnp.ones((4, 1)))
    with pytest.raises(ValueError, match=r"adaptive_avg_pool: output_size .*\(1, 2\)"):
        adaptive_avg_pool(jnp.ones((1, 4, 1)), (1, 2))
