"""The batch norm of the models: Flax's layer in float64 and a ReLU, whatever computes it, in every transformation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import error, few, normal, quick
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fcnn.nn import BatchNorm, cpu_convolutions
from fcnn.nn.onednn.norm import norm_by_lax, norm_p, normalize

needs_onednn = pytest.mark.skipif(not cpu_convolutions().startswith("oneDNN"), reason=cpu_convolutions())
SHAPE = (4, 3, 5, 16)


def flax_norm(x, scale, bias, *, epsilon, relu):
    """(y, mean, var) by Flax's layer, differentiated by JAX."""
    layer = nn.BatchNorm(use_running_average=False, momentum=0.0, epsilon=epsilon, use_fast_variance=False)
    variables = {"params": {"scale": scale, "bias": bias}}
    y, updates = layer.apply(variables, x, mutable=["batch_stats"])
    statistics = updates["batch_stats"]
    return nn.relu(y) if relu else y, statistics["mean"], statistics["var"]


def products(norm, x, scale, bias, *cotangents):
    """The three outputs and the three gradients."""
    outputs, pull = jax.vjp(norm, x, scale, bias)
    return *outputs, *pull(cotangents)


def arrays_for(shape, seed=0, mean=2.0):
    """x, scale, bias and the cotangents of y, mean and var."""
    rng, c = np.random.default_rng(seed), shape[-1]
    x = mean + normal(rng, *shape)
    return (np.float64(np.float32(x)), 1 + normal(rng, c), *(normal(rng, *s) for s in ((c,), shape, (c,), (c,))))


def single(arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


def in_float64(function, *arrays):
    with jax.enable_x64(True):
        compiled = jax.jit(function, compiler_options=quick())
        return jax.tree.map(np.asarray, compiled(*(jnp.asarray(a, jnp.float64) for a in arrays)))


def compare(ours, expected, limit=1e-5):
    for actual, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert actual.dtype == jnp.float32
        assert error(actual, wanted) < limit


@few
@given(
    st.tuples(*(st.integers(1, 5) for _ in range(3)), st.sampled_from([1, 3, 8, 16, 24, 32, 48])),
    st.sampled_from([1e-5, 1e-3, 1.0]),
    st.booleans(),
)
def test_output_statistics_and_gradients_of_every_shape(shape, epsilon, relu):
    if shape[0] * shape[1] * shape[2] < 4:
        shape = (4, *shape[1:])  # of one or two entries the deviation is all rounding
    arrays = arrays_for(shape)
    options = {"epsilon": epsilon, "relu": relu}
    expected = in_float64(functools.partial(products, functools.partial(flax_norm, **options)), *arrays)
    with jax.numpy_dtype_promotion("strict"):
        function = functools.partial(products, functools.partial(normalize, **options))
        compare(jax.jit(function, compiler_options=quick())(*single(arrays)), expected, 1e-4)


@pytest.mark.parametrize("mean", [0.0, 10.0, 300.0])
def test_many_entries_and_a_large_mean_keep_their_digits(mean):
    """oneDNN's own statistics of these have an error of 3e-5 and more."""
    arrays = arrays_for((32, 32, 32, 16), mean=mean)
    expected = in_float64(lambda x, s, b: flax_norm(x, s, b, epsilon=1e-5, relu=True), *arrays[:3])
    y, m, var = jax.jit(lambda x, s, b: normalize(x, s, b, epsilon=1e-5, relu=True))(*single(arrays[:3]))
    assert error(var, expected[2]) < 2e-6
    assert error(m, expected[1]) < 2e-7
    assert error(y, expected[0]) < 1e-6 + 3e-7 * mean  # the mean's last digit


def transformed(how, norm):
    def loss(x, scale, bias, dy):
        y, mean, var = norm(x, scale, bias, epsilon=1e-3, relu=True)
        return (jnp.sin(y) * dy).sum() + (mean * var).sum()

    def repeated(x, scale, bias, dy):
        def body(carry, _):
            value, grads = jax.value_and_grad(loss, argnums=(0, 1, 2))(*carry, dy)
            return jax.tree.map(lambda a, g: a - 0.001 * g, carry, grads), value

        return lax.scan(body, (x, scale, bias), length=3)

    def along(x, scale, bias, dy):
        return (x, scale, bias, dy), (jnp.cos(x), jnp.sin(scale), bias, dy)

    grad = jax.grad(loss, argnums=(0, 1, 2))
    return {
        "scan": repeated,
        "remat": jax.grad(jax.checkpoint(loss), argnums=(0, 1, 2)),
        "by the scale alone": jax.grad(loss, argnums=1),
        "jvp": lambda *a: jax.jvp(loss, *along(*a)),
        "reverse over reverse": jax.grad(lambda *a: sum((g**2).sum() for g in grad(*a)), argnums=(0, 1, 2)),
        "forward over reverse": lambda *a: jax.jvp(grad, *along(*a)),
        "forward over forward": lambda *a: jax.jvp(lambda *a: jax.jvp(loss, *along(*a)), *along(*a)),
        "vmap": lambda x, *a: jax.vmap(grad, (1, None, None, None))(jnp.stack([x, 2 * x], 1), *a),
    }[how]


TRANSFORMATIONS = [
    *("scan", "remat", "by the scale alone", "jvp", "reverse over reverse", "forward over reverse"),
    *("forward over forward", "vmap"),
]


@pytest.mark.parametrize("how", TRANSFORMATIONS)
def test_transformations(how):
    arrays = arrays_for(SHAPE)[:4]
    expected = in_float64(transformed(how, flax_norm), *arrays)
    compare(jax.jit(transformed(how, normalize), compiler_options=quick())(*single(arrays)), expected, 2e-4)


def test_without_jit():
    arrays = arrays_for(SHAPE)
    options = {"epsilon": 1e-5, "relu": True}
    expected = in_float64(functools.partial(products, functools.partial(flax_norm, **options)), *arrays)
    compare(products(functools.partial(normalize, **options), *single(arrays)), expected)


def both(x, scale, bias, dy):
    def loss(x, scale, bias):
        return (normalize(x, scale, bias, epsilon=1e-5, relu=True)[0] * dy).sum()

    return jax.grad(loss, argnums=(0, 1, 2))(x, scale, bias)


@needs_onednn
def test_the_choice_is_made_by_the_platform_that_a_program_is_lowered_for():
    arrays = single(arrays_for(SHAPE)[:4])
    for platform, calls in (("cpu", 2), ("tpu", 0), ("cuda", 0)):
        text = jax.jit(both).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
        assert text.count("custom_call @fcnn_onednn") == calls
    exported = jax.export.export(jax.jit(both))(*arrays)
    assert "custom_call @fcnn" not in exported.mlir_module()
    compare(exported.call(*arrays), both(*arrays))


@pytest.mark.parametrize("channels", [16, 24])
def test_the_mask_is_the_same_whoever_makes_it(channels):
    """So that a gradient by oneDNN may follow a forward pass by XLA, and the other way round."""
    arrays = single(arrays_for((3, 5, 2, channels))[:3])
    for norm in (norm_p.bind, norm_by_lax):
        y, _, _, mask = jax.jit(functools.partial(norm, epsilon=1e-5, relu=True))(*arrays)
        np.testing.assert_array_equal(mask, np.packbits(np.asarray(y).ravel() > 0, bitorder="little"))


def test_on_four_devices_under_jit_the_statistics_are_those_of_the_whole_batch():
    arrays = arrays_for(SHAPE)[:4]
    expected = in_float64(
        lambda x, s, b, dy: jax.vjp(lambda *a: flax_norm(*a, epsilon=1e-5, relu=True)[0], x, s, b)[1](dy), *arrays
    )
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    by_batch, everywhere = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("data",), ()))
    placed = map(jax.device_put, single(arrays), (by_batch, everywhere, everywhere, by_batch))
    ours = jax.jit(both)(*placed)
    assert ours[0].sharding.is_equivalent_to(by_batch, 4)
    compare(ours, expected)


def test_on_four_devices_each_by_itself():
    arrays = single(arrays_for(SHAPE)[:4])
    x, scale, bias, dy = arrays
    found = jax.pmap(both, in_axes=(0, None, None, 0))(x[:, None], scale, bias, dy[:, None])
    for i in range(4):
        compare([part[i] for part in found], both(x[i : i + 1], scale, bias, dy[i : i + 1]))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": jnp.bfloat16}, {"axis_name": "data"}, {"use_running_average": True}, {"use_scale": False}],
    ids=str,
)
def test_the_layer_is_flax_s(options, relu):
    """The same names, statistics, numbers; whatever isn't plain training is left to Flax altogether."""
    options = {"use_running_average": False, "momentum": 0.9, "use_fast_variance": False} | options
    x = jax.random.normal(jax.random.key(0), SHAPE)
    theirs, ours = nn.BatchNorm(**options), BatchNorm(**options)
    variables = theirs.init(jax.random.key(1), x)
    assert jax.tree.structure(ours.init(jax.random.key(1), x)) == jax.tree.structure(variables)

    def run(layer, **how):
        function = functools.partial(layer.apply, mutable=["batch_stats"], **how)
        if "axis_name" in options:
            function = jax.vmap(function, (None, 0), axis_name="data")
            return function(variables, x[:, None])
        return function(variables, x)

    (y, updates), (wanted, expected) = run(ours, relu=relu), run(theirs)
    assert y.dtype == wanted.dtype
    assert error(y, nn.relu(wanted) if relu else wanted) < (1e-5 if y.dtype == jnp.float32 else 0.01)
    for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
        assert error(a, b) < 1e-6
