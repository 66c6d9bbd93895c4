import functools

import flax.errors
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compare import apply, check, error, normal, properties, quick
from hypothesis import given
from hypothesis import strategies as st

from fcnn.nn import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
)

images = st.lists(st.integers(2, 5), min_size=1, max_size=3)  # the spatial axes
seeds = st.integers(0, 2**32 - 1)


@properties
@given(images, st.integers(1, 4), seeds, st.sampled_from([1e-5, 1e-3]), st.sampled_from([0.9, 0.99]))
def test_batch_norm_in_training_and_evaluation(spatial, channels, seed, epsilon, momentum):
    rng = np.random.default_rng(seed)
    x = 3 * normal(rng, 3, *spatial, channels) + 1
    scale, bias, mean, var = normal(rng, 4, channels)
    var = var**2 + 0.5
    var = var.astype(np.float32).astype(np.float64)
    axes = tuple(range(x.ndim - 1))

    def both(*inputs):
        y, statistics = batch_norm(*inputs, train=True, momentum=momentum, epsilon=epsilon)
        evaluated, same = batch_norm(*inputs, train=False, momentum=momentum, epsilon=epsilon)
        return y, statistics, evaluated, same

    expected = (
        reference.normalize(x, axes, scale, bias, epsilon),
        (momentum * mean + (1 - momentum) * x.mean(axes), momentum * var + (1 - momentum) * x.var(axes)),
        (x - mean) / np.sqrt(var + epsilon) * scale + bias,
        (mean, var),
    )
    check("batch_norm", both, (x, scale, bias, mean, var), expected)


@properties
@given(images, st.integers(1, 2), st.integers(1, 3), st.integers(0, 2), seeds)
def test_layer_instance_and_group_norm(spatial, groups, size, more_axes, seed):
    rng = np.random.default_rng(seed)
    x = 2 * normal(rng, 2, *spatial, groups * size) - 1
    scale, bias = normal(rng, 2, x.shape[-1])
    last = min(1 + more_axes, x.ndim - 1)
    wide_scale, wide_bias = normal(rng, 2, *x.shape[x.ndim - last :])
    inner = tuple(range(1, x.ndim - 1))

    def all_three(x, scale, bias, wide_scale, wide_bias):
        return (
            layer_norm(x, scale, bias),
            layer_norm(x, wide_scale, wide_bias, axes=last, epsilon=1e-3),
            instance_norm(x, scale, bias),
            group_norm(x, scale, bias, groups=groups),
        )

    expected = (
        reference.normalize(x, (-1,), scale, bias, 1e-5),
        reference.normalize(x, tuple(range(x.ndim - last, x.ndim)), wide_scale, wide_bias, 1e-3),
        reference.normalize(x, inner, scale, bias, 1e-5),
        reference.group_norm(x, scale, bias, groups, 1e-5),
    )
    check("layer, instance, group norm", all_three, (x, scale, bias, wide_scale, wide_bias), expected)


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


@pytest.mark.parametrize("shape", [(128, 16, 16, 4), (64, 3), (8, 40, 40, 2)])
def test_a_mean_of_1000_and_a_deviation_of_a_hundredth_keep_their_digits(shape):
    rng = np.random.default_rng(0)
    x = (1000 + 0.01 * rng.standard_normal(shape)).astype(np.float32)
    exact = x.astype(np.float64)  # float32 near 1000 has steps of 6e-5; what is asked for is right for these numbers
    ones, zeros = jnp.ones(shape[-1]), jnp.zeros(shape[-1])
    axes = tuple(range(len(shape) - 1))
    y, (mean, var) = batch_norm(jnp.asarray(x), ones, zeros, zeros, zeros, train=True, momentum=0.0, epsilon=1e-7)
    assert error(mean, exact.mean(axes)) < 1e-7
    assert np.max(np.abs(var / exact.var(axes) - 1)) < 1e-6
    assert error(y, reference.normalize(exact, axes, 1, 0, 1e-7)) < 1e-5
    lost = (x * x).mean(axes) - x.mean(axes) ** 2  # why: not a digit of this is right
    assert np.max(np.abs(lost / exact.var(axes) - 1)) > 1
    for layer in (
        lambda x: layer_norm(x, axes=x.ndim - 1, epsilon=1e-7),
        lambda x: group_norm(x, groups=1, epsilon=1e-7),
    ):
        every = reference.normalize(exact, tuple(range(1, len(shape))), 1, 0, 1e-7)
        assert error(layer(jnp.asarray(x)), every) < 1e-5


def test_a_constant_channel_becomes_its_bias():
    x = jnp.full((16, 5, 5, 2), 123456.789)
    one = jnp.ones(2)
    y, _ = batch_norm(x, one, 3 * one, one, one, train=True)
    assert jnp.array_equal(y, jnp.full_like(x, 3))
    gradient = jax.grad(lambda x: batch_norm(x, one, one, one, one, train=True)[0][0, 0, 0, 0])(x)
    assert jnp.isfinite(gradient).all()


def test_statistics_over_devices_are_those_of_the_whole_batch():
    x = jnp.asarray(normal(np.random.default_rng(0), 8, 4, 4, 3) * 2 + 5, jnp.float32)
    ones, zeros = jnp.ones(3), jnp.zeros(3)

    def apart(x):
        step = functools.partial(
            batch_norm, scale=ones, bias=zeros, mean=zeros, var=ones, train=True, axis_name="devices"
        )
        y, statistics = jax.vmap(step, axis_name="devices")(x.reshape(4, 2, 4, 4, 3))
        return y.reshape(x.shape), statistics

    def together(x):
        return batch_norm(x, ones, zeros, zeros, ones, train=True)

    y, (mean, var) = jax.jit(apart)(x)
    whole, (whole_mean, whole_var) = jax.jit(together)(x)
    assert jnp.allclose(y, whole, atol=1e-6)
    assert jnp.allclose(mean, jnp.tile(whole_mean, (4, 1)), atol=1e-6)
    assert jnp.allclose(var, jnp.tile(whole_var, (4, 1)), atol=1e-6)
    ours, theirs = (jax.jit(jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x)[0]))))(x) for f in (apart, together))
    assert jnp.allclose(ours, theirs, atol=1e-5)


def test_gradient_of_batch_norm_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, w = jnp.asarray(normal(rng, 6, 3, 2)), jnp.asarray(normal(rng, 6, 3, 2))
        ones, zeros = jnp.ones(2), jnp.zeros(2)

        def formula(x):
            m = jnp.mean(x, axis=(0, 1), keepdims=True)
            v = jnp.mean((x - m) ** 2, axis=(0, 1), keepdims=True)
            return jnp.sum(w * (x - m) / jnp.sqrt(v + 1e-5)), (0.1 * m.ravel(), 0.9 + 0.1 * v.ravel())

        def ours(x):
            y, statistics = batch_norm(x, ones, zeros, zeros, ones, train=True)
            return jnp.sum(w * y), statistics

        def derivatives(f):
            compiled = jax.jit(
                lambda x: (jax.jacrev(f)(x), jax.hessian(lambda x: f(x)[0])(x)), compiler_options=quick()
            )
            return jax.tree.leaves(compiled(x))

        for one, other in zip(derivatives(ours), derivatives(formula), strict=True):
            assert error(one, other) < 1e-10


def test_low_precision_is_averaged_in_float32_and_comes_back_as_it_was():
    x = jnp.asarray(300 + normal(np.random.default_rng(0), 4, 9, 9, 4), jnp.float16)  # 300² is beyond float16
    ones, zeros = jnp.ones(4), jnp.zeros(4)
    exact = np.asarray(x, np.float64)
    y, (mean, var) = batch_norm(x, ones, zeros, zeros, ones, train=True, momentum=0.0)
    assert (y.dtype, mean.dtype, var.dtype) == (jnp.float16, jnp.float32, jnp.float32)
    assert error(y, reference.normalize(exact, (0, 1, 2), 1, 0, 1e-5)) < 1e-3
    assert error(var, exact.var((0, 1, 2))) < 1e-6
    for z in (layer_norm(x), instance_norm(x), group_norm(x, groups=2), local_response_norm(x, 3)):
        assert z.dtype == jnp.float16
        assert jnp.isfinite(z).all()


def test_layers_are_interchangeable_with_flax_s():
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, 8))
    key, rng = jax.random.key(1), np.random.default_rng(0)
    pairs = [
        (LayerNorm(), flax.linen.LayerNorm(epsilon=1e-5)),
        (InstanceNorm(), flax.linen.InstanceNorm(epsilon=1e-5)),
        (GroupNorm(groups=4), flax.linen.GroupNorm(4, epsilon=1e-5)),
        (LayerNorm(axes=3), flax.linen.LayerNorm(epsilon=1e-5, reduction_axes=(1, 2, 3), feature_axes=(1, 2, 3))),
    ]
    for ours, theirs in pairs:
        shapes = jax.eval_shape(theirs.init, key, x)
        assert shapes == jax.eval_shape(ours.init, key, x)
        variables = jax.tree.map(lambda v: rng.standard_normal(v.shape).astype(np.float32), shapes)
        assert jnp.allclose(apply(ours, variables, x), apply(theirs, variables, x), atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_layer_is_interchangeable_with_flax_s(train):
    x = 2 * jax.random.normal(jax.random.key(0), (4, 6, 6, 8)) + 1
    theirs, ours = flax.linen.BatchNorm(not train, momentum=0.9), BatchNorm()
    variables = theirs.init(jax.random.key(1), x)
    at_start = ours.init(jax.random.key(1), x, train=train)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, variables, at_start))  # init leaves the statistics alone
    variables = jax.tree.map(lambda v: v + jnp.arange(1.0, 9.0) / 8, variables)
    y, updates = apply(ours, variables, x, train=train, mutable=["batch_stats"])
    expected, theirs_updates = apply(theirs, variables, x, mutable=["batch_stats"])
    assert jnp.allclose(y, expected, atol=1e-5)
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.allclose(a, b, atol=1e-6), updates, theirs_updates))
    if not train:
        assert jnp.array_equal(apply(ours, variables, x, train=False), y)


def test_batch_norm_layer_starts_without_devices_and_needs_its_statistics_mutable():
    layer = BatchNorm(axis_name="devices", use_bias=False)
    variables = layer.init(jax.random.key(0), jnp.ones((2, 3)), train=True)
    assert set(variables["params"]) == {"scale"}
    with pytest.raises(flax.errors.ModifyScopeVariableError):
        BatchNorm(use_bias=False).apply(variables, jnp.ones((2, 3)), train=True)


X, V = jnp.ones((2, 4, 4, 6)), jnp.ones(6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: batch_norm(X, V, V, V, jnp.ones(4), train=True),
            r"batch_norm: var .*\(6,\) .*\(2, 4, 4, 6\).* \(4,\)",
        ),
        (lambda: batch_norm(X, jnp.ones(4), V, V, V, train=True), r"batch_norm: scale .*\(4,\)"),
        (lambda: batch_norm(V, V, V, V, V, train=True), r"batch_norm: .*2 axes.*\(6,\)"),
        (lambda: batch_norm(X.astype(int), V, V, V, V, train=True), r"batch_norm: .*int32"),
        (lambda: layer_norm(X, jnp.ones(4)), r"layer_norm: scale .*\(4,\)"),
        (lambda: layer_norm(X, axes=0), r"layer_norm: axes .*0.*\(2, 4, 4, 6\)"),
        (lambda: layer_norm(X, axes=4), r"layer_norm: .*\(2, 4, 4, 6\)"),
        (lambda: instance_norm(X, V, jnp.ones(4)), r"instance_norm: bias .*\(4,\)"),
        (lambda: instance_norm(jnp.ones((2, 6))), r"instance_norm: .*3 axes.*\(2, 6\)"),
        (lambda: group_norm(X, groups=4), r"group_norm: 4 groups .*\(2, 4, 4, 6\)"),
        (lambda: group_norm(X, groups=0), r"group_norm: 0 groups .*\(2, 4, 4, 6\)"),
        (lambda: group_norm(X, jnp.ones(3), groups=3), r"group_norm: scale .*\(3,\)"),
        (lambda: local_response_norm(X, 0), r"local_response_norm: size .*0.*\(2, 4, 4, 6\)"),
    ],
)
def test_errors_are_one_line_with_the_shapes(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
