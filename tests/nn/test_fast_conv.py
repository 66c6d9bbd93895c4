"""The convolution of the models: the numbers of XLA's in float64, whatever computes it, in every transformation."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from compare import THOROUGH, error, quick
from convolutions import NHWC, arrays_for, cases, in_float64, products, single, tiny_cases
from hypothesis import given, settings
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fcnn.distributed import sharding
from fcnn.nn import conv_general_dilated, cpu_convolutions

ONEDNN = cpu_convolutions().startswith("oneDNN")
needs_onednn = pytest.mark.skipif(not ONEDNN, reason=cpu_convolutions())


def check(case):
    """Output and gradients against XLA's in float64; returns the program."""
    x, w, options = case
    arrays = arrays_for(x, w, options)
    expected = in_float64(functools.partial(products, functools.partial(lax.conv_general_dilated, **options)), *arrays)
    with jax.numpy_dtype_promotion("strict"):
        function = functools.partial(products, functools.partial(conv_general_dilated, **options))
        program = jax.jit(function, compiler_options=quick()).lower(*single(arrays))
    for name, actual, wanted in zip(("y", "dx", "dw"), program.compile()(*single(arrays)), expected, strict=True):
        assert actual.dtype == jnp.float32
        assert error(actual, wanted) < 1e-5, f"{name}: {error(actual, wanted)}"
    return program.as_text()


@settings(max_examples=12 * THOROUGH)
@given(cases())
def test_output_and_gradients_of_every_shape(case):
    check(case)


@settings(max_examples=12 * THOROUGH)
@given(tiny_cases())
def test_tiny_images(case):
    assert "stablehlo.convolution" not in check(case)


@needs_onednn
@pytest.mark.parametrize(("kernel", "products"), [(1, 1), (2, 4), (3, 4)])
def test_taps_on_padding_are_not_multiplied_and_products_use_every_core(kernel, products):
    options = {"window_strides": (1, 1), "padding": ((kernel // 2, (kernel - 1) // 2),) * 2} | NHWC
    text = check(((5, 2, 2, 3), (kernel, kernel, 3, 7), options))
    assert "stablehlo.dot_general" not in text
    assert text.count("custom_call @fcnn_onednn") == 3 * products


SHAPES: Any = (4, 9, 8, 6), (3, 3, 6, 16), {"window_strides": (2, 1), "padding": ((1, 0), (1, 1))} | NHWC


def transformed(how, convolve):
    """A function of (x, w, y) that uses the convolution in one of JAX's transformations."""

    def loss(x, w, y):
        return (jnp.sin(convolve(x, w)) * y).sum()

    def repeated(x, w, y):
        def body(carry, _):
            value, grads = jax.value_and_grad(loss, argnums=(0, 1))(*carry, y)
            return jax.tree.map(lambda a, g: a - 0.001 * g, carry, grads), value

        return lax.scan(body, (x, w), length=3)

    return {
        "scan": repeated,
        "remat": jax.grad(jax.checkpoint(loss), argnums=(0, 1)),
        "jvp": lambda x, w, y: jax.jvp(loss, (x, w, y), (jnp.cos(x), jnp.sin(w), y)),
        "reverse over reverse": jax.grad(
            lambda x, w, y: sum((g**2).sum() for g in jax.grad(loss, argnums=(0, 1))(x, w, y)), argnums=(0, 1)
        ),
        "forward over reverse": lambda x, w, y: jax.jvp(
            jax.grad(loss, argnums=(0, 1)), (x, w, y), (jnp.cos(x), jnp.sin(w), y)
        ),
        "three times": jax.grad(lambda x, w, y: jax.grad(lambda x: (jax.grad(loss)(x, w, y) ** 3).sum())(x).sum()),
        "vmap over images": lambda x, w, y: jax.vmap(products, (None, 1, None, 1))(
            convolve, jnp.stack([x, 2 * x], 1), w, jnp.stack([y, -y], 1)
        ),
        "vmap over kernels": lambda x, w, y: jax.vmap(products, (None, None, 3, None))(
            convolve, x, jnp.stack([w, 2 * w], 3), y
        ),
        "vmap over both": lambda x, w, y: jax.vmap(products, (None, 0, 0, 0))(
            convolve, jnp.stack([x, 2 * x]), jnp.stack([w, -w]), jnp.stack([y, y + 1])
        ),
        "gradient of each example": lambda x, w, y: jax.vmap(jax.grad(loss, argnums=1), (0, None, 0))(
            x[:, None], w, y[:, None]
        ),
    }[how]


TRANSFORMATIONS = [
    *("scan", "remat", "jvp", "reverse over reverse", "forward over reverse", "three times"),
    *("vmap over images", "vmap over kernels", "vmap over both", "gradient of each example"),
]


@pytest.mark.parametrize("how", TRANSFORMATIONS)
def test_transformations(how):
    x, w, options = SHAPES
    arrays = arrays_for(x, w, options)
    expected = in_float64(transformed(how, functools.partial(lax.conv_general_dilated, **options)), *arrays)
    ours = jax.jit(transformed(how, functools.partial(conv_general_dilated, **options)))(*single(arrays))
    for actual, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert error(actual, wanted) < 2e-5


def test_without_jit():
    x, w, options = SHAPES
    arrays = arrays_for(x, w, options)
    expected = in_float64(functools.partial(products, functools.partial(lax.conv_general_dilated, **options)), *arrays)
    ours = products(functools.partial(conv_general_dilated, **options), *single(arrays))
    for actual, wanted in zip(ours, expected, strict=True):
        assert error(actual, wanted) < 1e-5


def lowered(function, *arguments, platform="cpu"):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def both_gradients(x, w, y):
    convolve = functools.partial(conv_general_dilated, **SHAPES[2])
    return products(convolve, x, w, y)


@needs_onednn
def test_the_choice_is_made_by_the_platform_that_a_program_is_lowered_for():
    arrays = single(arrays_for(*SHAPES))
    for platform, calls, convolutions in (("cpu", 3, 0), ("tpu", 0, 3), ("cuda", 0, 3)):
        text = lowered(both_gradients, *arrays, platform=platform)
        assert text.count("custom_call @fcnn_onednn") == calls
        assert text.count("stablehlo.convolution") == convolutions
        assert "stablehlo.case" not in text


OTHERS = [
    ((2, 8, 8, 4), (3, 3, 4, 4), {"lhs_dilation": (2, 1)}, jnp.float32),
    ((2, 8, 8, 4), (3, 3, 4, 4), {"batch_group_count": 2}, jnp.float32),
    ((2, 8, 8, 4), (3, 3, 4, 4), {"padding": ((-1, 0), (1, 1))}, jnp.float32),
    ((2, 8, 8, 4), (3, 3, 4, 4), {}, jnp.bfloat16),
    ((0, 8, 8, 4), (3, 3, 4, 4), {}, jnp.float32),
    ((2, 8, 8, 4), (4, 8, 3, 3), {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}, jnp.float32),
    ((2, 8, 4), (3, 4, 4), {"dimension_numbers": ("NWC", "WIO", "NWC")}, jnp.float32),
    ((2, 4, 8, 8, 4), (3, 3, 3, 4, 4), {"dimension_numbers": ("NDHWC", "DHWIO", "NDHWC")}, jnp.float32),
]


@pytest.mark.parametrize(("x", "w", "options", "dtype"), OTHERS)
def test_what_is_not_for_onednn_is_left_to_lax(x, w, options, dtype):
    axes = len(x) - 2
    options = {"window_strides": (1,) * axes, "padding": ((1, 1),) * axes} | NHWC | options
    x, w = jnp.ones(x, dtype), jnp.ones(w, dtype)
    ours = lowered(lambda x, w: conv_general_dilated(x, w, **options), x, w)
    theirs = lowered(lambda x, w: lax.conv_general_dilated(x, w, **options), x, w)
    assert ours == theirs


def test_what_is_wrong_is_said_by_lax():
    x, w = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 5, 4))
    with pytest.raises(ValueError, match="feature_group_count"):
        conv_general_dilated(x, w, (1, 1), "SAME", **NHWC)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_on_four_devices_under_jit_xla_cuts_its_own_convolutions(axis_type):
    arrays = arrays_for(*SHAPES)
    expected = in_float64(both_gradients, *arrays)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    by_batch, everywhere = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("data",), ()))
    x, w, y = map(jax.device_put, single(arrays), (by_batch, everywhere, by_batch))
    if axis_type is AxisType.Auto:
        text = jax.jit(both_gradients).lower(x, w, y).as_text()
        assert text.count("stablehlo.convolution") == 3
        ours = jax.jit(both_gradients)(x, w, y)
        assert ours[0].sharding.is_equivalent_to(by_batch, 4)
    else:
        with jax.set_mesh(mesh):
            ours = jax.jit(both_gradients)(x, w, y)
    for actual, wanted in zip(ours, expected, strict=True):
        assert error(actual, wanted) < 1e-5


@pytest.mark.parametrize("how", ["shard_map", "shard_map, checked", "pmap"])
def test_on_four_devices_each_with_its_part(how):
    arrays = arrays_for(*SHAPES)
    expected = in_float64(both_gradients, *arrays)
    x, w, y = single(arrays)

    def part(x, w, y):
        output, dx, dw = both_gradients(x, w, y)
        # Under the check w's cotangent has been added up already, since w is the same on every device.
        return output, dx, dw if how == "shard_map, checked" else lax.psum(dw, "data")

    if how == "pmap":
        xs, ys = (a.reshape(4, 1, *a.shape[1:]) for a in (x, y))
        output, dx, dw = jax.pmap(part, axis_name="data", in_axes=(0, None, 0))(xs, w, ys)
        ours = output.reshape(y.shape), dx.reshape(x.shape), dw[0]
    else:
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        spec, everywhere = PartitionSpec("data"), PartitionSpec()
        mapped = jax.shard_map(
            part,
            mesh=mesh,
            in_specs=(spec, everywhere, spec),
            out_specs=(spec, spec, everywhere),
            check_vma=how == "shard_map, checked",
        )
        ours = jax.jit(mapped)(x, w, y)
    for actual, wanted in zip(ours, expected, strict=True):
        assert error(actual, wanted) < 1e-5


def test_an_exported_program_holds_no_custom_call():
    arrays = single(arrays_for(*SHAPES))
    exported = jax.export.export(jax.jit(both_gradients), platforms=("cpu", "tpu"))(*arrays)
    assert "custom_call @fcnn" not in exported.mlir_module()
    for actual, wanted in zip(exported.call(*arrays), both_gradients(*arrays), strict=True):
        assert error(actual, wanted) < 1e-5


def test_an_exported_program_may_leave_the_batch_open():
    x, w, _ = arrays_for(*SHAPES)
    convolve = jax.jit(lambda x, w: conv_general_dilated(x, w, **SHAPES[2]))
    sizes = jax.export.symbolic_shape("b, 9, 8, 6")
    kinds = jax.ShapeDtypeStruct(sizes, jnp.float32), jax.ShapeDtypeStruct(w.shape, jnp.float32)
    exported = jax.export.export(convolve)(*kinds)
    x, w = single((x, w))
    assert error(exported.call(x[:3], w), convolve(x[:3], w)) < 1e-5


def test_the_precision_asked_for_reaches_other_platforms():
    x, w, options = SHAPES
    x, w = jnp.ones(x), jnp.ones(w)
    with jax.default_matmul_precision("highest"):
        text = lowered(lambda x, w: conv_general_dilated(x, w, **options), x, w, platform="tpu")
    assert "HIGHEST" in text
    text = lowered(lambda x, w: conv_general_dilated(x, w, **options, precision="highest"), x, w, platform="tpu")
    assert "HIGHEST" in text


def test_in_linen_s_layer():
    x = jax.random.normal(jax.random.key(0), (3, 7, 7, 4))
    theirs = nn.Conv(6, (3, 3), padding=1)
    ours = nn.Conv(6, (3, 3), padding=1, conv_general_dilated=conv_general_dilated)
    variables = theirs.init(jax.random.key(1), x)
    assert error(jax.jit(ours.apply)(variables, x), jax.jit(theirs.apply)(variables, x)) < 1e-5


@needs_onednn
def test_a_mesh_of_one_device_is_one_device():
    """What a run on a laptop is lowered for."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    args = jax.device_put(single(arrays_for(*SHAPES)), NamedSharding(mesh, PartitionSpec("data")))
    text = jax.jit(both_gradients).lower(*args).as_text()
    assert (text.count("custom_call @fcnn"), text.count("stablehlo.convolution")) == (3, 0)


def test_a_model_on_several_devices_is_still_cut():
    """The whole chain of `parallel.compile_step` on a mesh, where one custom call would be an error."""
    mesh = sharding.make_mesh()
    x, w, y = single(arrays_for(*SHAPES))
    args = sharding.shard(x, mesh), sharding.replicate(w, mesh), sharding.shard(y, mesh)
    ours = sharding.compile_step(lambda x, w, y: both_gradients(x, w, y), *args, donate=False)(*args)
    for actual, wanted in zip(ours, both_gradients(x, w, y), strict=True):
        assert error(actual, wanted) < 1e-5
