"""One table of models, one set of properties for all of them."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcnn import models, optim
from fcnn.batch import make_batch
from fcnn.config import OptimConfig
from fcnn.errors import UserError
from fcnn.state import create_state
from fcnn.step import make_eval_step, make_train_step

# The deep ones are the same file with more blocks.
MODELS = ["linear", "mlp", "resnet20", "resnet32"]
BATCH, CLASSES = 6, 7


@pytest.fixture(scope="module", params=MODELS)
def setup(request):
    """A model with its state, a batch, and its compiled steps, each with a count of its traces."""
    model = models.create(request.param, num_classes=CLASSES, dropout=0.5)
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
    after, report = train_step(after, batch)  # zero-initialised scales let nothing through in the first step
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


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet20", 269_722), ("resnet32", 464_154), ("resnet44", 658_586), ("resnet56", 853_018),
     ("resnet110", 1_727_962), ("resnet1202", 19_421_274)],
)  # fmt: skip
def test_parameter_counts_are_the_papers(name, parameters):
    model = models.create(name, num_classes=10)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters


def test_a_zero_initialised_block_is_the_identity():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    model = models.create("resnet20", num_classes=10)
    variables = jax.jit(lambda key: model.init(key, x, train=False))(jax.random.key(1))
    _, kept = jax.jit(lambda v: model.apply(v, x, train=False, capture_intermediates=True))(variables)
    seen = {name: entry["__call__"][0] for name, entry in kept["intermediates"].items() if name != "__call__"}
    np.testing.assert_array_equal(seen["stage1_block3"], nn.relu(seen["stem_norm"]))
    without = models.create("resnet20", num_classes=10, zero_init=False)
    scales = jax.jit(lambda key: without.init(key, x, train=False))(jax.random.key(1))["params"]["stage1_block1"]
    scales = scales["norm2"]["scale"]
    assert (scales == 1).all()


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


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(UserError, match="unknown model 'resnet21'; did you mean resnet"):
        models.create("resnet21", num_classes=10)
