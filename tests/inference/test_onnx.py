"""ONNX files: ONNX Runtime, which knows nothing of JAX, gives the logits of the network."""

import dataclasses
import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from harness import MEAN, STD, families
from harness import random_network as network
from jax import export as jax_export

from fcnn import models
from fcnn.calibration import Calibration
from fcnn.inference.onnx.emit import emit
from fcnn.inference.onnx.export import to_onnx
from fcnn.inference.onnx.graph import Graph, Unsupported, Value, channels_first, in_order
from fcnn.nn import adaptive_avg_pool, avg_pool, local_response_norm, max_pool
from fcnn.utils.errors import UserError
from fcnn.weights import Network

IMAGES = (6, 9, 4)


def answers(data, images):
    """What ONNX Runtime makes of images."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {"images": images})]


def logits(given, images):
    model = given.create()
    return np.asarray(jax.jit(lambda x: model.apply(given.variables, x, train=False))(images))


def nodes(data):
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def drawn(count, shape, seed=0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def check(given, *, within=2e-5, counts=(1, 3)):
    data, shape = to_onnx(given), given.info.image_shape
    for count in counts:
        images = drawn(count, (*shape[:2], len(given.info.mean)), count)
        want = logits(given, images)
        (found,) = answers(data, images.transpose(0, 3, 1, 2))
        assert found.dtype == np.float32
        assert np.abs(found - want).max() < within * np.abs(want).max()
    return data


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "lenet5"},
        {"name": "lenet5", "norm": "group", "width_multiplier": 0.5},
        {"name": "mlp", "norm": "batch", "size": 8},
        {"name": "resnet20", "width_multiplier": 0.25},
        {"name": "squeezenet1_1", "width_multiplier": 0.25},
    ],
    ids=lambda fields: fields["name"],
)
def test_the_file_gives_the_networks_logits_for_any_number_of_images(fields):
    check(network(**fields))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), families())
def test_every_family(name, size):
    # Drawn weights of EfficientNet v2 and BiT make float32 itself differ: here by the order of additions.
    check(
        network(name, size), within={"efficientnet_v2_s": 5e-3, "resnetv2_50x1_bit": 5e-4}.get(name, 2e-5), counts=(2,)
    )


def conv(x, kernel, strides, padding, dilation):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, None, dilation, numbers)


def wide(channels):
    return jnp.arange(float(channels)).reshape(1, 1, 1, -1)


def own(x, function, dtype="float32"):
    """A function of images through ONNX Runtime."""
    (batch,) = jax_export.symbolic_shape("batch")
    program: Any = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((batch, *x.shape[1:]), jnp.float32))
    graph = Graph(dtype)
    images = graph.node("Cast", "images", to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    (result,) = emit(graph, program, [Value(images, program.in_avals[0].shape, channels_first(x.ndim))])
    described = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, None)
    shape = [None] * len(result.shape)
    name = graph.node("Cast", graph.name(graph.whole(result), in_order(shape)), to=onnx.TensorProto.FLOAT)
    model = graph.model([described], [(name, "logits", shape)])
    return answers(model.SerializeToString(), np.moveaxis(x, -1, 1))[0]


POOLS: list[tuple[Any, dict[str, Any]]] = [
    (pool, options)
    for pool in (max_pool, avg_pool)
    for options in (
        {"window": 2},
        {"window": 3, "stride": 2, "padding": 1},
        {"window": (2, 3), "stride": (3, 2), "padding": ((0, 1), (1, 0)), "ceil_mode": True},
        {"window": 2, "stride": 2, "ceil_mode": True},
    )
]
FUNCTIONS = {
    **{f"{pool.__name__}-{i}": lambda x, pool=pool, o=o: pool(x, **o) for i, (pool, o) in enumerate(POOLS)},
    "avg-no-pad": lambda x: avg_pool(x, 3, stride=2, padding=1, count_include_pad=False, ceil_mode=True),
    "adaptive": lambda x: adaptive_avg_pool(x, (4, 9)),
    "flax-max": lambda x: nn.max_pool(x, (2, 3), (2, 2), "SAME"),
    "flax-avg": lambda x: nn.avg_pool(x, (2, 2), (1, 2)),
    "lrn": lambda x: local_response_norm(x, 3, alpha=0.5),
    "activations": lambda x: nn.gelu(x, approximate=False) + nn.silu(x) * nn.hard_swish(x) - nn.elu(nn.relu6(x)),
    "more-activations": lambda x: nn.softplus(x) + nn.gelu(x) + nn.leaky_relu(x) + nn.selu(x) + nn.hard_sigmoid(x),
    "clip": lambda x: jnp.clip(x, -0.5, 0.3) + jnp.minimum(nn.relu(x), 0.2) + jnp.maximum(x, 0.1),
    "flatten": lambda x: x.reshape(x.shape[0], -1) @ drawn(6 * 9 * 4, (5,)),
    "channels-first": lambda x: x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)[:, 3:50:4],
    "shuffle": lambda x: jnp.stack(jnp.split(x, 2, axis=-1), axis=-1).reshape(x.shape),
    "groups": lambda x: (lambda y: ((y - y.mean((1, 2, 4), keepdims=True)) * 2).reshape(x.shape))(
        x.reshape(*x.shape[:3], 2, 2)
    ),
    "layer-norm": lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6),
    "along-height": lambda x: (x - x.mean(1, keepdims=True)) + jnp.arange(6.0).reshape(1, 6, 1, 1) * x,
    "softmax": lambda x: nn.softmax(x.reshape(x.shape[0], 54, 4), axis=1),
    "attention": lambda x: (lambda y: nn.softmax(y @ y.transpose(0, 2, 1) / 2) @ y)(x.reshape(x.shape[0], 54, 4)),
    "einsum": lambda x: jnp.einsum("bhwc,hd->bdwc", x, drawn(6, (3,))),
    "dense": lambda x: x @ drawn(4, (7,)) + wide(7),
    "squeeze-excite": lambda x: x * nn.sigmoid(x.mean((1, 2), keepdims=True) @ drawn(4, (4,))),
    "strides": lambda x: x[:, ::2, 1::3] + x[:, 3:, ::3] * x[:, :3, 2, None],
    "squeeze": lambda x: x.mean((1, 2), keepdims=True).squeeze((1, 2)),
    "one-entry-often": lambda x: x[..., jnp.array([2, 2, 2])] * x[:, jnp.array([1]), :, :1],
    "grid": lambda x: x[:, jnp.array([3, 0])[:, None], jnp.array([5, 1, 8])[None], 1:],
    "small-numbers": lambda x: jnp.log1p(1e-8 * x) * 1e8 + jnp.expm1(1e-8 * x) * 1e8,
    "remat": jax.checkpoint(lambda x: jnp.sin(x) * x.mean(-1, keepdims=True)),
    "relu-of-integers": lambda x: jnp.minimum(jnp.maximum((3 * x).astype(jnp.int32), 0), 5).astype(jnp.float32),
    "backwards": lambda x: x[:, ::-1, :, ::-1],
    "pad-crop": lambda x: jax.lax.pad(x, 0.5, ((0, 0, 0), (1, -2, 0), (2, 0, 0), (0, 1, 0))),
    "concatenate": lambda x: jnp.concatenate([x, jnp.square(x) ** 3, jnp.broadcast_to(x[:, :1], x.shape)], axis=2),
    "where": lambda x: jnp.where((x > 0) & (x < 1) | (x == 2), x, jnp.sign(x) * jnp.abs(x) ** 1.5),
    "one-channel": lambda x: (x[..., :1] - wide(4)) * (wide(4) + 1) + wide(4),
    "conv-one-channel": lambda x: conv(x, drawn(2, (2, 4, 1)), (1, 2), ((0, 1), (1, 0)), (2, 1)) + wide(3),
    "conv-channels-first": lambda x: jax.lax.conv_general_dilated(
        x.transpose(0, 3, 1, 2), drawn(6, (2, 2, 2)), (1, 1), "SAME", feature_group_count=2
    ),
    "constants": lambda x: jnp.broadcast_to(wide(4) * 2, x.shape) + 0 * x,
    "reductions": lambda x: x.max((1, 3)) + x.min((2, 3)).sum(1, keepdims=True) + x.prod(3).mean(1),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_operation_is_jaxs(name):
    x = drawn(2, IMAGES, 3)
    want = np.asarray(FUNCTIONS[name](jnp.asarray(x)))
    found = own(x, FUNCTIONS[name])
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=2e-5)


OUTSIDE: Any = ((2, 0), (0, 0))
REFUSED = {
    "depends on how many images": lambda x: x - x.mean(0, keepdims=True),
    "a slice along the images": lambda x: x[1:],
    "beyond the ends": lambda x: jnp.take(x, jnp.array([-1, 2]), axis=-1, mode="clip"),
    "no grid": lambda x: x[:, jnp.array([0, 1]), jnp.array([0, 1])],
    "select_n by a number": lambda x: jax.lax.select_n((x > 0).astype(jnp.int32), x, 2 * x),
    "and of integers": lambda x: (x.astype(jnp.int32) & 3).astype(jnp.float32),
    "erfc outside of GELU": lambda x: jnp.log(jax.lax.erfc(x + 5)),
    "bfloat16": lambda x: (x.astype(jnp.bfloat16) * 2).astype(jnp.float32),
    "the operation cumsum": lambda x: x.cumsum(1),
    "windows in the padding alone": lambda x: nn.max_pool(x, (2, 2), (2, 2), OUTSIDE),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_would_be_wrong_or_has_no_rule_is_refused(reason):
    with pytest.raises(Unsupported, match=reason):
        own(drawn(2, IMAGES), REFUSED[reason])


def test_half_precision_keeps_means_of_many_entries_and_small_epsilons():
    x = 5 + drawn(2, (160, 160, 2))  # the sum is beyond the largest float16, and so is the count
    np.testing.assert_allclose(own(x, lambda x: x.mean((1, 2)), "float16"), x.mean((1, 2)), rtol=2e-3)
    zeros = np.zeros((1, *IMAGES), np.float32)
    assert (own(zeros, lambda x: x / jnp.maximum(jnp.abs(x), 1e-12), "float16") == 0).all()


def test_engines_get_the_operations_that_they_are_fast_at():
    kinds = nodes(to_onnx(network("mobilenet_v3_small", 32, width_multiplier=0.5)))
    assert {"HardSwish", "HardSigmoid", "ReduceMean"} <= {*kinds}
    assert not {"Transpose", "Sub", "Reciprocal"} & {*kinds}
    kinds = nodes(to_onnx(network("densenet121", 32, width_multiplier=0.25)))
    assert {"BatchNormalization", "AveragePool", "MaxPool"} <= {*kinds}
    assert not {"Transpose", "Sub", "Slice"} & {*kinds}


class Own(nn.Module):
    """A user's: batch norm before the convolution, an operation without a rule if asked for."""

    sort: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3))(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.LayerNorm()(nn.max_pool(x, (2, 2), (2, 2)))
        return jnp.sort(nn.Dense(3)(x.mean((1, 2)))) if self.sort else nn.Dense(3)(x.mean((1, 2)))


def users(module):
    info = dataclasses.replace(network("lenet5", classes=3).info, module="Own", image_shape=(8, 8, 3))
    variables = jax.device_get(module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))
    return Network(info=info, variables=variables, module=module)


def test_a_users_own_module_too_as_far_as_its_operations_go():
    check(users(Own()))
    with pytest.raises(UserError, match="can't be written as ONNX: it has the operation sort"):
        to_onnx(users(Own(sort=True)))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_go_in_and_calibrated_probabilities_come_out(channels):
    given = network("lenet5", channels=channels, width_multiplier=0.5)
    place = models.endpoints(given.create(), (32, 32, 3))[-1]
    means = np.random.default_rng(0).normal(size=(4, place.shape[-1]))
    calibration = Calibration(images=200, temperature=1.7).with_means(means, 0.2, place.name)
    given = dataclasses.replace(given, info=dataclasses.replace(given.info, calibration=calibration))
    data = to_onnx(given, pixels=True)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, channels)).astype(np.uint8)
    probabilities, features = answers(data, images)
    normalized = jnp.asarray((images / 255 - np.array(MEAN)) / np.array(STD), jnp.float32)
    want, want_features = models.logits_and_features(given.create(), given.variables, normalized, place.name)
    np.testing.assert_allclose(probabilities, calibration.probabilities(np.asarray(want)), atol=1e-5)
    np.testing.assert_allclose(features, want_features, rtol=1e-4, atol=1e-5)
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load_from_string(data).metadata_props}
    assert metadata["labels"] == list(given.info.classes)
    assert metadata["fcnn"]["about"] == json.loads(json.dumps(given.info.to_dict()))
    assert metadata["fcnn"]["pixels"]


def test_half_precision_halves_the_file_and_keeps_the_answers():
    given = network("resnet20", width_multiplier=0.5)
    images = drawn(8, (32, 32, 3))
    want, whole, half = logits(given, images), to_onnx(given), to_onnx(given, dtype="float16")
    (found,) = answers(half, images.transpose(0, 3, 1, 2))
    assert found.dtype == np.float32
    assert len(half) < 0.6 * len(whole)
    assert 1e-6 < np.abs(found - want).max() / np.abs(want).max() < 2e-2


def test_the_same_network_gives_the_same_bytes():
    assert to_onnx(network("lenet5")) == to_onnx(network("lenet5"))
