"""Transfer: what is frozen stays to the last bit, what learns learns at its rate, and where each number comes from."""

import dataclasses
import json
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from harness import MEAN, random_network, random_variables, relative_error
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fcnn import models
from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig, TransferConfig
from fcnn.config.serialize import from_json, to_json
from fcnn.data import load
from fcnn.data.dataset import Dataset, Split
from fcnn.distributed import sharding
from fcnn.report import Console
from fcnn.training import evaluate, trainer
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.features import on_features
from fcnn.training.optim import freeze, scale_rates
from fcnn.training.setup import compile_train_step, make_setup
from fcnn.training.start import start_state
from fcnn.training.trainable import find_trainable, start_from
from fcnn.utils.errors import UserError
from fcnn.weights import write_network

N, SIZE = 12, 32
RNG = np.random.default_rng(0)
SPLIT = Split(RNG.integers(0, 256, (N, SIZE, SIZE, 1)).astype(np.uint8), RNG.integers(0, 4, N).astype(np.int32))
LENET = ModelConfig(name="lenet5", norm="batch", width_multiplier=0.5)
OPTIMIZERS = (
    OptimConfig(name="adamw", weight_decay=0.1, decay_mask="all", schedule="constant", learning_rate=0.01),
    OptimConfig(name="lars", l2=0.1, l1=0.1, decay_mask="all", clip_norm=0.1, schedule="constant"),
)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A LeNet-5 with batch norm for images of three channels and four classes."""
    path = tmp_path_factory.mktemp("weights") / "lenet.safetensors"
    network = random_network("lenet5", norm="batch", width_multiplier=0.5)
    for leaf in jax.tree.leaves(network.variables):
        leaf.flat[0] = -0.0  # which adding zero would change
    write_network(path, network)
    return path


def experiment(path, strategy: Any, optim=OPTIMIZERS[0], classes="abcd", augment=None, **train: Any):
    """On one device; gray images, which the weights' statistics give three channels."""
    config = Config(
        data=DataConfig(val_fraction=0.0),
        augment=augment or AugmentConfig(),
        model=LENET,
        optim=optim,
        train=TrainConfig(**{"batch_size": N, "eval_batch_size": N, "steps": 3, **train}),
        transfer=TransferConfig(weights=str(path), strategy=strategy, backbone_lr_scale=0.5, layer_decay=0.25),
    )
    given = np.asarray(MEAN, np.float32), np.full(3, 0.2, np.float32)
    dataset = Dataset("random", tuple(classes), SPLIT, SPLIT.take(np.arange(4)), SPLIT, normalization=given)
    return make_setup(config, dataset, jax.sharding.Mesh(np.asarray(jax.devices()[:1]), (sharding.DATA_AXIS,)))


def host(state) -> Any:
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def trained(setup, features=False):
    state, losses = start_state(setup, lambda _: None), []
    before = host(state)
    source = on_features(setup, state.variables) if features else setup
    step = compile_train_step(source, state)
    for _ in range(3):
        state, report = step(state, np.arange(N, dtype=np.int32))
        losses.append(float(report.metrics.loss))
    return before, host(state), losses


def bits(tree):
    return [leaf.tobytes() for leaf in jax.tree.leaves(tree)]


FROZEN = {"head": {"c1", "c3", "c5", "f6"}, "last_block": {"c1"}, "full": set(), "mean_var": set(), "scratch": set()}


@pytest.mark.parametrize(
    ("strategy", "optim"),
    [
        ("head", OPTIMIZERS[0]),
        ("last_block", OPTIMIZERS[1]),
        ("full", OPTIMIZERS[0]),
        *(pytest.param(name, OPTIMIZERS[0], marks=pytest.mark.slow) for name in ("last_block", "mean_var", "scratch")),
    ],
)
def test_frozen_means_frozen_and_all_else_learns(weights_file, strategy, optim):
    setup = experiment(weights_file, strategy, optim, ema_decay=0.9, grad_accum_steps=2 if optim.name == "lars" else 1)
    assert setup.trainable.frozen == FROZEN[strategy]
    before, after, losses = trained(setup)
    for tree in ("params", "batch_stats"):
        old, new = getattr(before, tree), getattr(after, tree)
        for layer in old:
            same = [a == b for a, b in zip(bits(old[layer]), bits(new[layer]), strict=True)]
            assert all(same) if layer in setup.trainable.frozen else not any(same), (tree, layer)
            if layer in setup.trainable.frozen:
                assert bits(after.ema[tree][layer]) == bits(old[layer])
    assert losses[2] < losses[0]
    # Moments of what learns, and of nothing else.
    trainable = sum(
        leaf.size
        for k in before.params
        if k not in setup.trainable.frozen
        for leaf in jax.tree.leaves(before.params[k])
    )
    moments = sum(leaf.size for leaf in jax.tree.leaves(before.opt_state) if leaf.ndim)
    assert moments == trainable * {"adamw": 2, "lars": 1}[optim.name]


def test_no_gradient_is_computed_of_what_is_frozen(weights_file):
    """Two convolutions forward; then of the second, of its input and of the first, as far as they learn."""
    for strategy, expected in (("last_block", 3), ("head", 2)):
        setup = experiment(weights_file, strategy)
        state = setup.init_state()
        batch = {
            "image": jnp.zeros((N, SIZE, SIZE, 3)), "label": jnp.zeros(N, jnp.int32), "mask": jnp.ones(N, bool),
            "index": jnp.arange(N),
        }  # fmt: skip
        program = jax.jit(setup.train_step()).trace(state, batch).lower(lowering_platforms=("cuda",)).as_text()
        assert program.count("stablehlo.convolution") == expected, strategy


def test_frozen_layers_are_fused_as_in_evaluation(weights_file):
    setup = experiment(weights_file, "last_block")
    batch = {
        "image": jnp.zeros((N, SIZE, SIZE, 3)), "label": jnp.zeros(N, jnp.int32), "mask": jnp.ones(N, bool),
        "index": jnp.arange(N),
    }  # fmt: skip
    program = str(jax.make_jaxpr(setup.train_step())(setup.init_state(), batch))
    assert program.count("fused_convolution[") == 1  # c1, and not c3


def test_there_is_no_dropout_among_frozen_layers():
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    model = models.create("vgg11", num_classes=3, hidden=(16, 16), width_multiplier=0.25)
    variables = jax.jit(lambda x: model.init(jax.random.key(1), x, train=False))(images)

    def fc7(frozen, train):
        kept, rngs = model.clone(frozen=frozenset(frozen)), {"dropout": jax.random.key(2)}
        features: Any = jax.jit(lambda v: kept.apply(v, images, train=train, features=("fc7",), rngs=rngs)[1])(
            variables
        )
        return np.asarray(features["fc7"])

    expected = fc7((), False)
    np.testing.assert_allclose(fc7(("fc6", "fc7"), True), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(fc7((), True) - expected).max() > 0.1 * np.abs(expected).max()


def test_features_computed_once_train_the_same_head(weights_file):
    setup = experiment(weights_file, "head")
    _, slow, losses = trained(setup)
    _, fast, again = trained(setup, features=True)
    assert again == pytest.approx(losses, rel=1e-5)
    assert relative_error(fast.params["head"], slow.params["head"]) < 1e-5
    assert bits(fast.params["c5"]) == bits(slow.params["c5"])
    source = on_features(setup, start_state(setup, lambda _: None).variables)
    assert isinstance(source.dataset.train, Split)
    assert source.dataset.train.images.shape == (N, 42)
    # Images that change in each epoch have no features to keep; neither has a body that learns.
    for other in (experiment(weights_file, "head", augment=AugmentConfig(flip=True)), experiment(weights_file, "full")):
        assert on_features(other, other.init_state().variables) is other


def test_the_compiled_step_on_features_knows_no_image(weights_file):
    setup = experiment(weights_file, "head")
    source = on_features(setup, start_state(setup, lambda _: None).variables)
    state = setup.init_state()
    batch = {
        "image": jnp.zeros((N, 42)), "label": jnp.zeros(N, jnp.int32), "mask": jnp.ones(N, bool), "index": jnp.arange(N)
    }  # fmt: skip
    program = jax.jit(source.train_step()).lower(state, batch).compile().as_text()
    assert program is not None
    assert " dot(" in program
    assert " convolution(" not in program
    assert "custom-call" not in program


def test_clipping_sees_what_learns_alone():
    params = {"body": {"kernel": jnp.ones((2, 2))}, "head": {"bias": jnp.ones(2)}}
    grads = {"body": {"kernel": jnp.full((2, 2), 1e6)}, "head": {"bias": jnp.array([3.0, 4.0])}}
    optimizer = freeze(optax.chain(optax.clip_by_global_norm(1.0), optax.scale(-1.0)), {"body"})
    updates: Any = optimizer.update(grads, optimizer.init(params), params)[0]
    np.testing.assert_allclose(np.asarray(updates["head"]["bias"]), [-0.6, -0.8], rtol=1e-6)
    assert not np.asarray(updates["body"]["kernel"]).any()


def test_rates_fall_with_the_distance_from_the_head(weights_file):
    trainable = experiment(weights_file, "full").trainable
    assert trainable.lr_scales == {"f6": 0.5, "c5": 0.5 / 4, "c3": 0.5 / 16, "c1": 0.5 / 64}
    assert experiment(weights_file, "last_block").trainable.lr_scales == {"f6": 0.5, "c5": 0.5 / 4, "c3": 0.5 / 16}
    assert not experiment(weights_file, "scratch").trainable.lr_scales
    tree = {name: {"kernel": jnp.ones((2, 2))} for name in (*trainable.lr_scales, "head")}
    optimizer = scale_rates(optax.sgd(0.1), trainable.lr_scales)
    updates: Any = optimizer.update(tree, optimizer.init(tree), tree)[0]
    assert float(updates["c1"]["kernel"][0, 0]) == pytest.approx(-0.1 / 128)
    assert float(updates["head"]["kernel"][0, 0]) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("name", "head", "last_block"),
    [
        pytest.param("resnet18", "pool", "stage3", marks=pytest.mark.slow),
        ("resnet20", "pool", "stage2"), ("vgg11_bn", "fc7", "stage4"),
        ("squeezenet1_1", "fire9", "fire8"), ("alexnet", "fc7", "stage2"), ("mlp", "hidden2", None),
        ("linear", None, None), pytest.param("googlenet", "pool", "inception5a", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_where_each_network_is_cut(name, head, last_block):
    strategy: Any
    model = models.create(name, num_classes=3)
    images = jnp.zeros((1, *model.image_shape))
    layers = set(jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"])
    for strategy, endpoint in (("head", head), ("last_block", last_block)):
        config = TransferConfig(weights="file", strategy=strategy)
        if endpoint is None:
            with pytest.raises(UserError, match=f"transfer.strategy {strategy}: MLP has no backbone"):
                find_trainable(config, model, model.image_shape)
            continue
        trainable = find_trainable(config, model, model.image_shape)
        assert trainable.endpoint == endpoint
        assert "head" not in trainable.frozen
        assert trainable.frozen | set(trainable.lr_scales) <= layers
        # An auxiliary head half-way up is frozen with what it helps to learn.
        assert ("aux1" in trainable.frozen) == (name == "googlenet")


@pytest.fixture(scope="module")
def network():
    """A LeNet-5 with batch norm and the classes a, b, c, d."""
    return random_network("lenet5", norm="batch", width_multiplier=0.5)


def drawn(network, classes):
    """Fresh variables of the network for other classes, no two rows of its head alike."""
    model = network.info.create(len(classes))
    images = jnp.zeros((1, SIZE, SIZE, 3))
    return random_variables(dict(jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcdwxyz"), min_size=1, max_size=8, unique=True))
@example(list("dcba"))
@example(list("db"))
@example(list("xbz"))
@example(list("xyz"))
def test_a_row_of_the_head_belongs_to_a_class_by_name(network, classes):
    fresh = drawn(network, classes)
    variables, message = start_from(network, tuple(classes), fresh, "full", seed=0)
    assert bits(variables["params"]["c3"]) == bits(network.variables["params"]["c3"])
    for name in ("kernel", "bias"):
        for i, label in enumerate(classes):
            known = label in network.info.classes
            source = network.variables["params"]["head"][name][..., "abcd".index(label)] if known else None
            row = fresh["params"]["head"][name][..., i] if source is None else source
            assert bits(variables["params"]["head"][name][..., i]) == bits(row), (name, label)
    new = [label for label in classes if label not in network.info.classes]
    if len(new) == len(classes):
        assert message == "The head is new: the weights know 4 other classes."
    elif new:
        assert f"keeps {len(classes) - len(new)} of the weights' 4 classes and has {len(new)} new: {new[0]}" in message
    elif len(classes) < 4:
        assert message == f"The head keeps {len(classes)} of the weights' 4 classes."
    else:
        assert message.startswith("The head is that of the weights")


@pytest.mark.parametrize("classes", ["abcd", "dbca", "ca"])
def test_a_network_as_it_is_knows_its_classes_in_any_order(network, classes):
    """Its logits for images, by class, whatever the order of the data's classes."""
    images = RNG.normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)
    logits: Any = network.info.create().apply(dict(network.variables), images, train=False)
    variables, _ = start_from(network, tuple(classes), drawn(network, classes), "pretrained", seed=0)
    again: Any = network.info.create(len(classes)).apply(variables, images, train=False)
    np.testing.assert_allclose(again, logits[:, ["abcd".index(label) for label in classes]], rtol=1e-5, atol=1e-5)


def test_dense_layers_inside_of_a_block_are_no_heads():
    """ConvNeXt's have the names that the last layers of GoogLeNet's auxiliary heads have."""
    network = random_network("convnext_atto", width_multiplier=0.1)
    variables, _ = start_from(network, tuple("xyz"), drawn(network, "xyz"), "full", seed=0)
    block = variables["params"]["stage1_block1"]
    assert bits(block["fc2"]) == bits(network.variables["params"]["stage1_block1"]["fc2"])
    assert variables["params"]["head"]["bias"].shape == (3,)


def test_numbers_are_no_names(network):
    """Weights whose classes nobody named, ImageNet's or somebody's, are those of no data; folders 0, 1, 2, 3 are."""
    info = dataclasses.replace(network.info, classes=tuple("0123"))
    fresh = drawn(network, "0123")
    for named, strategy, classes, kept, words in (
        (
            False,
            "full",
            "wxyz",
            False,
            "The head is new: the weights' classes have no names; fcnn convert FILE --labels",
        ),
        (
            False,
            "full",
            "0123",
            False,
            "The head is new: the weights' classes have no names; fcnn convert FILE --labels",
        ),
        (False, "pretrained", "wxyz", True, "have no names: output 0 is taken for the first class"),
        (True, "full", "0123", True, "The head is that of the weights."),
        (True, "full", "wxyz", False, "The head is new: the weights know 4 other classes."),
    ):
        source = dataclasses.replace(network, info=dataclasses.replace(info, named=named))
        variables, message = start_from(source, tuple(classes), fresh, strategy, seed=0)
        head = (network.variables if kept else fresh)["params"]["head"]
        assert bits(variables["params"]["head"]) == bits(head), words
        assert words in message
    unnamed = dataclasses.replace(network, info=dataclasses.replace(info, named=False))
    with pytest.raises(UserError, match="have 4 classes without names, the data 5; fcnn convert FILE --labels"):
        start_from(unnamed, tuple("vwxyz"), fresh, "pretrained", seed=0)


def test_a_head_of_another_kind_is_new(network):
    fresh = drawn(network, "abcd")
    variables, message = start_from(network, tuple("abcd"), fresh, "full", seed=0, same_head=False)
    assert bits(variables["params"]["head"]) == bits(fresh["params"]["head"])
    assert message == "The head is new: it is of another kind."
    with pytest.raises(UserError, match="the weights' head is of another kind"):
        start_from(network, tuple("abcd"), fresh, "pretrained", seed=0, same_head=False)


@pytest.mark.slow
def test_a_squeezenet_with_a_linear_head_learns_on_averaged_features(tmp_path):
    """From weights with the published head, which differ in what the head computes alone."""
    network = random_network("squeezenet1_1", width_multiplier=0.125)
    write_network(tmp_path / "a.safetensors", network)
    images = RNG.normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    config = ModelConfig(name="squeezenet1_1", width_multiplier=0.125, options={"linear_head": True})
    model = dataclasses.replace(network.info, model=config).create()
    variables = network.variables
    logits, found = jax.jit(lambda x: model.apply(variables, x, train=False, features=("pool", "fire9")))(images)
    assert found["pool"].shape == (2, 64)
    head = {name: array.astype(np.float64) for name, array in variables["params"]["head"].items()}
    want = np.asarray(found["fire9"], np.float64).mean((1, 2)) @ head["kernel"][0, 0] + head["bias"]
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-5)
    assert (np.asarray(logits) < 0).any()
    setup = experiment(tmp_path / "a.safetensors", "head")
    setup = make_setup(dataclasses.replace(setup.config, model=config), setup.dataset, setup.mesh)
    assert setup.trainable.endpoint == "pool"
    said = []
    state = start_state(setup, said.append)
    assert "The head is new: it is of another kind. 260 parameters are trained." in said[0]
    assert bits(state.params["fire9"]) == bits(network.variables["params"]["fire9"])


def test_what_does_not_fit_is_named(weights_file):
    network, drawn = random_network("lenet5", norm="batch"), experiment(weights_file, "full").init_state().variables
    with pytest.raises(UserError, match=r"don't fit images of this size: params/.* \(.*\), must be \(.*\)"):
        start_from(network, tuple("abcd"), drawn, "full", seed=0)
    network = random_network("lenet5", norm="batch", width_multiplier=0.5)
    with pytest.raises(UserError, match="strategy pretrained: the weights don't know x"):
        start_from(network, tuple("abcx"), drawn, "pretrained", seed=0)
    setup = experiment(weights_file, "full")
    wide = dataclasses.replace(setup.config, model=dataclasses.replace(LENET, width_multiplier=1.0))
    setup = make_setup(wide, setup.dataset, setup.mesh)
    with pytest.raises(UserError, match=r"has model\.width-multiplier 0\.5, not 1\.0"):
        start_state(setup, lambda _: None)
    with pytest.raises(ValueError, match=r"transfer\.strategy head needs transfer\.weights"):
        TransferConfig(strategy="head")


def test_mean_var_draws_every_array_with_the_moments_of_the_trained_one(weights_file):
    network = random_network("lenet5", norm="batch", width_multiplier=0.5)
    drawn = experiment(weights_file, "full").init_state().variables
    made, _ = start_from(network, tuple("abcd"), drawn, "mean_var", seed=0)
    trained, kernel = (np.asarray(tree["params"]["c5"]["kernel"]) for tree in (network.variables, made))
    assert kernel.size > 10_000
    assert abs(kernel.mean() - trained.mean()) < 5 * trained.std() / kernel.size**0.5
    assert kernel.std() == pytest.approx(trained.std(), rel=0.03)
    assert abs(np.corrcoef(kernel.ravel(), trained.ravel())[0, 1]) < 0.05
    assert bits(made["batch_stats"]) == bits(jax.device_get(drawn["batch_stats"]))
    other, _ = start_from(network, tuple("abcd"), drawn, "mean_var", seed=1)
    assert bits(other["params"]["c5"]) != bits(made["params"]["c5"])


@pytest.mark.slow
def test_a_run_needs_its_weights_only_at_its_start(tmp_path, monkeypatch):
    """A run on digits from another run; going on is the same as never having stopped, with the source long gone."""
    console = Console(stderr=True)
    source = Config(model=ModelConfig(name="mlp", norm="batch"), train=TrainConfig(steps=20))
    found = trainer.train(source, tmp_path / "source", console)
    optim = OptimConfig(name="adam", learning_rate=0.01, schedule="constant")

    def config(strategy: Any, steps):
        return Config(
            data=DataConfig(num_train=100, val_fraction=0.0), model=source.model, optim=optim,
            train=TrainConfig(steps=steps, batch_size=20, eval_steps=4),
            transfer=TransferConfig(weights=str(tmp_path / "source"), strategy=strategy),
        )  # fmt: skip

    with monkeypatch.context() as patch:
        patch.setattr("fcnn.training.trainer.compile_train_step", None)  # nothing learns, nothing is compiled to learn
        as_it_is = trainer.train(config("pretrained", 8), tmp_path / "pretrained", console)
    assert [as_it_is[name] for name in ("top1", "loss", "step")] == [found["top1"], found["loss"], 0]
    trainer.train(config("head", 4), tmp_path / "head", console)
    trainer.train(config("head", 8), tmp_path / "whole", console)
    shutil.rmtree(tmp_path / "source")
    again = trainer.train(config("head", 8), tmp_path / "head", console)
    states = []
    for name in ("head", "whole"):
        setup = make_setup(config("head", 8), load(config("head", 8).data), sharding.make_mesh())
        with Checkpoints(tmp_path / name / "checkpoints", max_to_keep=2, keep_best=1, read_only=True) as checkpoints:
            states.append(host(checkpoints.restore(setup.init_state(), 8)[0]))
    assert bits(states[0]) == bits(states[1])
    assert evaluate.evaluate(tmp_path / "head", "test", console)["top1"] == again["top1"]
    assert json.loads((tmp_path / "head" / "data.json").read_text())["images"]["train"] == [10] * 10


def test_the_config_comes_back():
    config = Config(transfer=TransferConfig(weights="a.safetensors", strategy="last_block", layer_decay=0.8))
    assert from_json(to_json(config), "here") == config
