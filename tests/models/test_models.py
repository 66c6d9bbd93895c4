"""One table of models, one set of properties for all of them."""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_parameters import published, size_of

from fcnn import models
from fcnn.config import OptimConfig
from fcnn.models.classifier import Classifier
from fcnn.nn import Dropout, StochasticDepth
from fcnn.training import optim
from fcnn.training.state import create_state
from fcnn.training.step import make_eval_step, make_train_step
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError

# One of each family and each kind, the shallowest; the others differ in depth alone.
KINDS = [names[0] for names in models.variants()]
# Those for small images are trained; of all there are the properties below, in shapes and not in numbers.
MODELS = [name for name in KINDS if models.family(name).image_shape[0] <= 32]
BATCH, CLASSES = 6, 7


def shallow(name, blocks=1):
    """The field that makes an architecture so deep that it is traced in a second or two, if it has one."""
    sizes = models.preset_fields(name).get("stage_sizes", ())
    return {"stage_sizes": tuple(min(size, blocks) for size in sizes)} if sizes else {}


@pytest.fixture(scope="module", params=MODELS)
def setup(request):
    """A model with its state, a batch, and its compiled steps, each with a count of its traces."""
    model = models.create(request.param, num_classes=CLASSES, dropout=0.5, **shallow(request.param))
    optimizer = optim.make_optimizer(OptimConfig(), optim.make_schedule(OptimConfig(), steps=10, warmup=0))
    state = create_state(model, optimizer, (8, 8, 3), jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (BATCH, 8, 8, 3))
    batch = make_batch(images, jnp.arange(BATCH, dtype=jnp.int32) % CLASSES)
    chex.clear_trace_counter()  # it counts by the place in the source, over all models
    train_step = jax.jit(chex.assert_max_traces(make_train_step(model, optimizer), n=1))
    eval_step = jax.jit(chex.assert_max_traces(make_eval_step(model), n=1))
    return model, state, batch, train_step, eval_step


def test_shapes_and_types(setup):
    model, state, batch, _, _ = setup
    for dtype in (None, jnp.bfloat16):
        low = model.clone(dtype=dtype)
        logits = jax.eval_shape(lambda v, x, low=low: low.apply(v, x, train=False), state.variables, batch["image"])
        chex.assert_shape(logits, (BATCH, CLASSES))
        assert logits.dtype == jnp.float32
        shapes = jax.eval_shape(lambda k, low=low: low.init(k, batch["image"], train=False), jax.random.key(0))
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_every_parameter_learns_and_statistics_move_in_training_alone(setup):
    _, state, batch, train_step, eval_step = setup
    after, report = train_step(state, batch)
    after, report = train_step(after, batch)  # zero-initialized scales let nothing through in the first step
    chex.assert_tree_all_finite((after.params, after.batch_stats, report))
    for path, norm in jax.tree_util.tree_flatten_with_path(report.grad_norms)[0]:
        assert norm > 0, f"no gradient for {jax.tree_util.keystr(path)}"
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    for name, before in jax.tree_util.tree_flatten_with_path(state.batch_stats)[0]:
        moved = jax.tree_util.tree_flatten_with_path(after.batch_stats)[0]
        assert not np.array_equal(before, dict(moved)[name]), f"{jax.tree_util.keystr(name)} did not move"
    assert int(after.step) == 2
    # Evaluation returns nothing but numbers: there is no way for it to move anything.
    assert eval_step(state.variables, batch).count == BATCH


def test_evaluation_is_equivariant_to_the_batch_order(setup):
    model, state, batch, _, _ = setup
    order = np.random.default_rng(0).permutation(BATCH)
    apply = jax.jit(functools.partial(model.apply, train=False))
    logits, permuted = apply(state.variables, batch["image"]), apply(state.variables, batch["image"][order])
    np.testing.assert_allclose(permuted, logits[order], rtol=1e-5, atol=1e-5)


def test_dropout_is_on_in_training_alone(setup):
    model, state, batch, _, _ = setup

    @functools.partial(jax.jit, static_argnames="train")
    def logits(key, train):
        out = model.apply(state.variables, batch["image"], train=train, mutable=["batch_stats"], rngs={"dropout": key})
        return out[0]

    a, b = jax.random.key(0), jax.random.key(1)
    assert not np.array_equal(logits(a, True), logits(b, True))
    assert np.array_equal(logits(a, True), logits(a, True))
    assert np.array_equal(logits(a, False), logits(b, False))


def test_training_is_the_same_twice(setup):
    _, state, batch, train_step, _ = setup
    chex.assert_trees_all_equal(train_step(state, batch)[0].params, train_step(state, batch)[0].params)


def small(name, **options):
    """A model of seven classes, of a depth that is traced in a second or two."""
    return models.create(name, num_classes=7, **shallow(name, 2), **options)


def shapes(model, size, *, train=False, features=()):
    """The shapes of what a model gives for two images."""
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    init = functools.partial(model.init_with_output, train=train, features=features)
    return jax.eval_shape(lambda x: init(keys, x)[0], images)


@pytest.mark.parametrize("name", KINDS)
def test_any_size_from_the_smallest_on(name):
    """And every activation has a name; a wrong name is answered with the nearest."""
    model = small(name)
    least, names = model.smallest(train=True), every_endpoint(model)
    for size in (least, least + 1):
        assert shapes(model, size, train=True).shape == (2, 7)
    if least > 1:
        with pytest.raises(UserError, match=f"smallest are {least}x{least}"):
            shapes(model, least - 1, train=True)
    size = max(least + 14, 32)
    if name == "linear":
        assert names == ()
        return
    logits, found = shapes(model, size, features=names)
    assert logits.shape == (2, 7)
    assert found.keys() == set(names)
    with pytest.raises(UserError, match=f"did you mean .*{names[-1]}"):
        shapes(model, size, features=(names[-1] + "x",))


@pytest.mark.parametrize("name", [name for name in KINDS if models.family(name).smallest is not Classifier.smallest])
def test_the_smallest_size_is_the_smallest(name, monkeypatch):
    """One pixel less leaves a pool or a convolution without a window."""
    monkeypatch.setattr(Classifier, "check_size", lambda *args, **kwargs: None)

    def works(model, size):
        images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        init = functools.partial(model.init_with_output, train=True, mutable=True, capture_intermediates=True)
        try:
            found = jax.eval_shape(lambda x: init(keys, x), images)
        except ValueError:
            return False
        return all(0 not in leaf.shape for leaf in jax.tree.leaves(found))

    model = small(name)
    for case in [model, model.clone(auxiliary=False)] if hasattr(model, "auxiliary") else [model]:
        assert works(case, case.smallest(train=True))
        assert not works(case, case.smallest(train=True) - 1)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("linear", "vgg11_bn", "googlenet_2014")])
def test_fields_change_the_layers(name):
    """Width, activation, normalization, initializer and dropout of every family, without touching its file."""
    size = max(small(name).smallest(train=True), 8)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)

    def trace(**options):
        model = small(name, **options)
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        init = functools.partial(model.init_with_output, train=True)
        program, (_, variables) = jax.make_jaxpr(init, return_shape=True)(keys, images)
        return model, str(program), variables

    model, plain, variables = trace(dropout=0.0)
    norm = "group" if model.norm == "batch" else "batch"
    fields = dict(kernel_init="orthogonal", activation="mish", norm=norm, width_multiplier=0.5)
    _, changed, others = trace(dropout=0.123, **fields)
    for sign in ("log1p", "= qr[", "0.8769"):  # of mish, of orthogonal matrices, of a rate of 0.123
        assert sign in changed
        assert sign not in plain
    assert 0.2 < size_of(others["params"]) / size_of(variables["params"]) < 0.7
    assert ("batch_stats" in variables, "batch_stats" in others) == (model.norm == "batch", norm == "batch")
    assert "scale" in str(jax.tree_util.tree_structure(others["params"]))


def test_depthwise_convolutions_have_the_channels_of_their_input_at_any_width():
    """A quarter of 116 is 29, twice a quarter of 58 is 28."""
    model = models.create("shufflenet_v2_x1_0", num_classes=7, width_multiplier=0.25, stage_sizes=(1, 2, 1))
    assert shapes(model, 32, features=("stage1",))[1]["stage1"].shape == (2, 4, 4, 28)


def test_norms_normalize():
    """Each kind's own statistics are 0 and 1 where its layer stands."""
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    axes = {"batch": (0, 1, 2), "layer": (3,), "instance": (1, 2)}
    for kind, over in axes.items():
        # Not relu, which batch norm would do as well.
        fields = dict(stage_sizes=(1, 1, 1), norm=kind, width_multiplier=2.0, activation="tanh")
        model = models.create("resnet20", num_classes=2, **fields)

        @jax.jit
        def stem_norm(x, model=model):
            variables = model.init(jax.random.key(1), x, train=False)
            seen: Any
            _, seen = model.apply(variables, x, train=True, mutable=["batch_stats", "intermediates"],
                                  capture_intermediates=lambda module, _: module.name == "stem_norm")  # fmt: skip
            return seen["intermediates"]["stem_norm"]["__call__"][0]

        y = stem_norm(x)  # XLA leaves out all that comes after it
        np.testing.assert_allclose(y.mean(over), 0, atol=1e-4)
        np.testing.assert_allclose(y.var(over), 1, atol=1e-2)


@pytest.mark.parametrize("kind", ["batch", "group", "layer", "instance"])
def test_a_mean_of_1000_and_a_deviation_of_a_hundredth_keep_their_digits(kind):
    """E[x²] - E[x]², Flax's default for the variance, has no right digit there."""

    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            return models.create("resnet20", num_classes=2, norm=kind, width_multiplier=2.0).layers(True)[1]()(x)

    x = np.float32(1000 + 0.01 * np.random.default_rng(0).standard_normal((4, 16, 16, 32)))  # 32 groups
    variables = Norm().init(jax.random.key(0), jnp.asarray(x))
    y, _ = Norm().apply(variables, jnp.asarray(x), mutable=["batch_stats"])
    axes = {"batch": (0, 1, 2), "group": (1, 2), "layer": (3,), "instance": (1, 2)}[kind]
    exact = x - x.mean(axes, keepdims=True, dtype=np.float64)
    exact /= np.sqrt((exact**2).mean(axes, keepdims=True) + 1e-5)
    assert np.abs(np.asarray(y) - exact).max() < 0.02


def every_endpoint(model):
    return tuple(place.name for place in models.endpoints(model, (320, 320, 3)))


def test_an_endpoint_is_what_the_rest_is_computed_from():
    """The classifier on the last endpoint gives the logits; asking changes nothing."""
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    model = models.create("resnet20", num_classes=7)
    variables = jax.jit(lambda x: model.init(jax.random.key(1), x, train=False))(x)
    logits, found = jax.jit(lambda v: model.apply(v, x, train=False, features=("stage3", "pool")))(variables)
    head = jax.tree.map(np.asarray, variables["params"]["head"])
    np.testing.assert_allclose(
        np.asarray(found["stage3"]).mean((1, 2)) @ head["kernel"] + head["bias"], logits, rtol=1e-4
    )
    np.testing.assert_allclose(np.asarray(found["pool"]) @ head["kernel"] + head["bias"], logits, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(lambda v: model.apply(v, x, train=False))(variables), logits, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "heads"), [("googlenet", (0.3, 0.3)), ("googlenet_2014", (0.3, 0.3)), ("inception_v3", (0.4,))]
)
def test_auxiliary_heads_count_in_training_alone(name, heads):
    model = models.create(name, num_classes=7, width_multiplier=0.1)
    size = model.smallest(train=True)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    assert "aux" not in variables

    def apply(variables, images, train):
        rngs = {"dropout": jax.random.key(0)}
        updates: Any
        _, updates = model.apply(variables, images, train=train, mutable=["batch_stats", "aux"], rngs=rngs)
        return updates.get("aux", {})

    assert jax.eval_shape(functools.partial(apply, train=False), variables, images) == {}
    seen = []  # known while the program is traced: weights are plain numbers

    def note(variables, images):
        seen.extend((logits.shape, weight) for logits, weight in apply(variables, images, True).values())

    jax.eval_shape(note, variables, images)
    assert seen == [((2, 7), weight) for weight in heads]


def test_the_step_adds_the_auxiliary_losses():
    """A model whose only parameters stand in its heads: the gradients are the weighted cross-entropies' own."""

    class TwoHeads(Classifier, kw_only=True):
        def forward(self, x, train, endpoint):
            x = x.mean((1, 2))
            if train or self.is_initializing():
                self.aux("side", self.head(name="side")(x), weight=0.3)
            return self.head(name="head")(x)

    model = TwoHeads(num_classes=CLASSES)
    optimizer = optax.sgd(1.0)
    state = create_state(model, optimizer, (4, 4, 3), jax.random.key(0))
    batch = make_batch(jax.random.normal(jax.random.key(1), (BATCH, 4, 4, 3)), jnp.arange(BATCH, dtype=jnp.int32))
    after, report = jax.jit(make_train_step(model, optimizer))(state, batch)
    x, labels = np.asarray(batch["image"]).mean((1, 2)), np.eye(CLASSES)[:BATCH]
    for name, weight in (("head", 1.0), ("side", 0.3)):
        head = jax.tree.map(np.asarray, state.params[name])
        error = jax.nn.softmax(x @ head["kernel"] + head["bias"]) - labels
        np.testing.assert_allclose(
            head["kernel"] - np.asarray(after.params[name]["kernel"]),
            weight * x.T @ error / BATCH,
            rtol=1e-4,
            atol=1e-6,
        )
    head = jax.tree.map(np.asarray, state.params["head"])
    loss = -(jax.nn.log_softmax(x @ head["kernel"] + head["bias"]) * labels).sum()
    np.testing.assert_allclose(report.metrics.loss, loss, rtol=1e-5)


def test_options_of_an_architecture():
    widths, changes = ["groups", "width_per_group"], ["squeeze_excite", "shortcut", "stem"]
    assert list(models.options("resnet50")) == ["stride_on", *widths, *changes, "zero_init", "stochastic_depth"]
    with pytest.raises(UserError, match="groups and width_per_group are of bottlenecks"):
        published("resnet18", groups=2)
    assert list(models.options("vgg11")) == ["hidden"]
    # What a name sets isn't one, but for what changes training alone.
    assert list(models.options("convnext_base")) == ["conv_mlp", "layer_scale", "stochastic_depth"]
    assert size_of(published("vgg11_bn", hidden=())[1]["params"]) == 9_225_984 + 512 * 1000 + 1000


def test_the_paper_strides_on_the_first_convolution_of_a_bottleneck():
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    heights = {}
    for where in ("3x3", "1x1"):
        model = models.create("resnet50", num_classes=7, stride_on=where)
        _, variables = jax.eval_shape(lambda x, m=model: m.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True), x)  # fmt: skip
        heights[where] = variables["intermediates"]["stage2_block1"]["conv1"]["__call__"][0].shape[1]
    assert heights == {"3x3": 16, "1x1": 8}


def test_a_stem_for_small_images():
    """The networks of github.com/kuangliu/pytorch-cifar, with their parameter counts."""
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    for name, parameters in (("resnet18", 11_173_962), ("resnet50", 23_520_842)):
        model = models.create(name, num_classes=10, stem="3x3")
        endpoints = ("stem", "stage1", "stage4")
        (_, found), variables = jax.eval_shape(lambda x, m=model, e=endpoints: m.init_with_output(
            jax.random.key(0), x, train=False, features=e), x)  # fmt: skip
        assert size_of(variables["params"]) == parameters
        assert [found[name].shape[1] for name in endpoints] == [32, 32, 4]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_eight_images_are_overfitted(name):
    """From its own initialization, with dropout and auxiliary heads as they are; a quarter of the large ones' width."""
    large = models.family(name).classes == 1000
    # 18 blocks take minutes to compile.
    model = models.create(name, num_classes=10, width_multiplier=0.25 if large else 1.0, **shallow(name, 3))
    size = max(model.smallest(train=True), 32)
    optimizer = optax.adam(1e-3)
    state = create_state(model, optimizer, (size, size, 3), jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (8, size, size, 3))
    batch = make_batch(images, jnp.arange(8, dtype=jnp.int32))
    step = jax.jit(make_train_step(model, optimizer), donate_argnums=0)
    for _ in range(400):
        state, report = step(state, batch)
        if report.metrics.loss / 8 < 0.01:
            return
    pytest.fail(f"the loss is still {report.metrics.loss / 8:.3f}")


def test_a_zero_initialized_block_is_the_identity():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    model = models.create("resnet20", num_classes=10)
    variables = jax.jit(lambda key: model.init(key, x, train=False))(jax.random.key(1))
    _, seen = jax.jit(lambda v: model.apply(v, x, train=False, features=("stem", "stage1")))(variables)
    np.testing.assert_array_equal(seen["stage1"], seen["stem"])
    without = models.create("resnet20", num_classes=10, zero_init=False)
    scales = jax.jit(lambda key: without.init(key, x, train=False))(jax.random.key(1))["params"]["stage1_block1"]
    scales = scales["norm2"]["scale"]
    assert (scales == 1).all()


def test_every_channel_of_a_zero_initialized_network_learns():
    """Channels that option-A shortcuts pad with zeros would stay zero behind a scale of zero: a ReLU has no gradient
    there."""
    model = models.create("resnet20", num_classes=10, width_multiplier=0.5)
    x, labels = jax.random.normal(jax.random.key(0), (16, 16, 16, 3)), jnp.arange(16) % 10
    variables = jax.jit(lambda key: model.init(key, x, train=False))(jax.random.key(1))

    def loss(params):
        logits, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    for name, layer in gradients.items():
        if "block" in name:
            assert (layer["norm2"]["scale"] != 0).all(), name


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "resnet20", "preact_resnet110", "wrn_16_8", "resnetv2_50x1_bit", "convnext_atto"]
)
def test_the_rate_of_stochastic_depth_grows_from_block_to_block(name):
    """From 0 to the model's, in training alone; what is dropped are branches of whole examples."""
    model, rates = small(name, stochastic_depth=0.5), []

    def note(call, args, kwargs, context):
        if isinstance(context.module, StochasticDepth):
            rates.append((context.module.path[0], context.module.rate, args[0].shape))
        return call(*args, **kwargs)

    for train in (False, True):
        assert rates == []
        with nn.intercept_methods(note):
            shapes(model, 64, train=train)
    blocks = [f"stage{stage}_block{i}" for stage in range(1, len(model.stage_sizes) + 1) for i in (1, 2)]
    assert [block for block, _, _ in rates] == blocks[1:]  # the first one always stays
    np.testing.assert_allclose([rate for _, rate, _ in rates], np.linspace(0, 0.5, len(blocks))[1:])
    with nn.intercept_methods(note):
        assert shapes(model.clone(remat=True), 64, train=True).shape == (2, 7)


@pytest.mark.parametrize(
    "name", ["resnet50", "resnet20", "preact_resnet110", "wrn_16_8", "resnetv2_50x1_bit", "convnext_atto"]
)
def test_a_dropped_branch_leaves_the_shortcut(name):
    """At a rate of almost 1 the second block, whose shortcut is its input, returns it."""
    own: dict[str, Any] = {"zero_init": False, "layer_scale": 1.0}
    fields = {field: own[field] for field in own.keys() & models.options(name).keys()}
    fields |= {"stage_sizes": (2,), "width_multiplier": 0.25, "stochastic_depth": 0.999999}
    model = models.create(name, num_classes=7, **fields)

    @jax.jit
    def apply(x):
        keys = {"params": jax.random.key(1), "dropout": jax.random.key(2)}
        (_, found), variables = model.init_with_output(
            keys, x, train=True, features=("stage1",), mutable=True,
            capture_intermediates=lambda module, _: module.name == "stage1_block1",
        )  # fmt: skip
        return found["stage1"], variables["intermediates"]["stage1_block1"]["__call__"][0]

    after, before = apply(jax.random.normal(jax.random.key(0), (4, 8, 8, 3)))
    np.testing.assert_array_equal(after, before)
    assert (before != 0).any()


def test_dropout_of_a_wide_network_stands_between_the_convolutions_of_its_blocks():
    rates = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, Dropout):
            rates.append((context.module.path[0], context.module.rate, args[0].shape[-1], kwargs["train"]))
        return call(*args, **kwargs)

    model = models.create(
        "wrn_16_8", num_classes=7, stage_sizes=(1, 1), dropout=0.3, frozen=frozenset({"stage1_block1"})
    )
    with nn.intercept_methods(note):
        shapes(model, 16, train=True)
    assert rates == [("stage1_block1", 0.3, 128, False), ("stage2_block1", 0.3, 256, True)]


def test_projection_shortcuts_have_parameters():
    model = models.create("resnet20", num_classes=10, shortcut="projection")
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    extra = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) - 269_722
    assert extra == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64


def test_he_initialization_has_variance_two_over_fan_in():
    model = models.create("resnet20", num_classes=10)
    state = create_state(model, optax.identity(), (32, 32, 3), jax.random.key(0))
    kernel = state.params["stage3_block2"]["conv1"]["kernel"]
    assert abs(float(kernel.var()) * 9 * 64 / 2 - 1) < 0.05


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("resnet21", {}, "unknown model 'resnet21'; did you mean resnet"),
        ("resnet50", {"drop_rate": 0.1}, "unknown field of resnet50 'drop_rate'; did you mean dropout"),
        ("resnet50", {"num_classes": -3}, "num_classes must be a whole number from 1, got -3"),
        ("resnet50", {"num_classes": 2.5}, "num_classes must be a whole number from 1, got 2.5"),
        ("resnet50", {"stem": "5x5"}, "stem must be '7x7' or 'deep' or '3x3', got '5x5'"),
        ("resnet50", {"norm": "bach"}, "unknown model.norm 'bach'; did you mean batch"),
        ("resnet50", {"width_multiplier": 0}, "width-multiplier must be above 0"),
        ("resnet50", {"dropout": 1.5}, "dropout must be at least 0 and at most 0.999, got 1.5"),
        ("resnet50", {"stochastic_depth": 2.0}, "stochastic_depth must be at least 0 and less than 1, got 2"),
        ("efficientnet_b0", {"momentum": 5.0}, "momentum must be at least 0 and less than 1, got 5"),
        ("efficientnet_b0", {"epsilon": -1e-5}, "epsilon must be at least 0, got -1e-05"),
        ("efficientnet_b0", {"padding": "same"}, "padding must be 'torch' or 'SAME', got 'same'"),
        ("vgg11", {"hidden": (0,)}, "hidden must be numbers from 1, got "),
        ("mlp", {"hidden": (1,) * 101}, "hidden is too large"),
        ("resnet50", {"groups": 10**299}, "groups is too large"),
    ],
)
def test_what_can_not_be_made_is_said(name, fields, message):
    with pytest.raises(UserError, match=message):
        models.create(name, **({"num_classes": 10} | fields))


def test_an_image_without_a_batch_is_refused():
    with pytest.raises(UserError, match=r"images must be \(B, H, W, C\), got \(32, 32, 3\)"):
        jax.eval_shape(
            lambda: models.create("resnet20", num_classes=10).init(
                jax.random.key(0), jnp.zeros((32, 32, 3)), train=False
            )
        )
