"""The step: batch norm against NumPy, the gradient of the mean, and randomness by example."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from harness import relative_error

from fcnn import models
from fcnn.nn import BatchNorm, Dropout
from fcnn.training.metrics import cross_entropy
from fcnn.training.state import create_state
from fcnn.training.step import make_eval_step, make_train_step
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError


class Normalized(nn.Module):
    """Nothing but the batch norm of our ResNets, then the mean over the image: small enough to check by hand."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False)(x)
        return x.mean(axis=(1, 2))


def random_batch(size=8, shape=(4, 4, 3)):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((size, *shape)), jnp.float32)
    return make_batch(images, jnp.asarray(rng.integers(0, 3, size), jnp.int32))


def setup(model, optimizer, batch, **options):
    state = create_state(model, optimizer, batch["image"].shape[1:], jax.random.key(0))
    return state, jax.jit(make_train_step(model, optimizer, **options))


def test_batch_norm_and_its_moving_averages_are_numpys():
    batch = random_batch(16)
    batch["image"] = images = 3 + 2 * batch["image"]
    state, step = setup(Normalized(), optax.sgd(0.0), batch)
    mean, var = np.zeros(3), np.ones(3)
    pixels = np.asarray(images, np.float64)
    for _ in range(3):
        state, report = step(state, batch)
        mean = 0.9 * mean + 0.1 * pixels.mean(axis=(0, 1, 2))
        var = 0.9 * var + 0.1 * pixels.var(axis=(0, 1, 2))
    stats = state.batch_stats["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-5)

    def loss(logits):
        shifted = logits - logits.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(16), np.asarray(batch["label"])]
        return (np.log(np.exp(shifted).sum(axis=1)) - chosen).sum()

    normalized = (pixels - pixels.mean(axis=(0, 1, 2))) / np.sqrt(pixels.var(axis=(0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(report.metrics.loss, loss(normalized.mean(axis=(1, 2))), rtol=1e-5)
    evaluated = make_eval_step(Normalized())(state.variables, batch)
    running = (pixels - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(evaluated.loss, loss(running.mean(axis=(1, 2))), rtol=1e-5)


def test_the_variance_survives_a_large_mean():
    rng = np.random.default_rng(0)
    images = (1000 + 0.01 * rng.standard_normal((64, 8, 8, 3))).astype(np.float32)
    batch = make_batch(jnp.asarray(images), jnp.zeros(64, jnp.int32))
    state, step = setup(Normalized(), optax.sgd(0.0), batch)
    found = (step(state, batch)[0].batch_stats["BatchNorm_0"]["var"] - 0.9) / 0.1
    # 0.9 + 0.1 v in float32 keeps v = 1e-4 to about 1e-6; E[x^2] - E[x]^2 would give 0 or 0.06.
    np.testing.assert_allclose(found, images.astype(np.float64).var(axis=(0, 1, 2)), atol=2e-6)


def test_masked_examples_teach_nothing():
    model = models.create("mlp", num_classes=3)
    batch = random_batch(8)
    state, step = setup(model, optax.sgd(0.1), batch)
    mask = jnp.arange(8) < 6
    masked = {**batch, "mask": mask, "image": jnp.where(mask[:, None, None, None], batch["image"], 3 * batch["image"])}
    part = jax.tree.map(lambda x: x[:6], batch)
    a, ra = step(state, masked)
    b, rb = jax.jit(make_train_step(model, optax.sgd(0.1)))(state, part)
    chex.assert_trees_all_close(a.params, b.params, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(ra.metrics, rb.metrics, rtol=1e-6)


class NormalizedRelu(nn.Module):
    """What oneDNN computes: its ReLU makes 0 of what isn't a number."""

    @nn.compact
    def __call__(self, x, *, train):
        x = BatchNorm(use_running_average=not train)(nn.Conv(16, (3, 3))(x), relu=True)
        return nn.Dense(3)(x.mean(axis=(1, 2)))


def test_an_image_that_is_not_finite_makes_the_loss_nan():
    batch, model = random_batch(), NormalizedRelu()
    state, step = setup(model, optax.sgd(0.1), batch)
    evaluate = jax.jit(make_eval_step(model))
    for value in (0, np.nan, np.inf, -np.inf):
        broken = {**batch, "image": batch["image"].at[2, 1, 1, 0].set(value)}
        assert np.isnan(step(state, broken)[1].metrics.loss) == (value != 0)
        assert np.isnan(evaluate(state.variables, broken).loss) == (value != 0)
        masked = {**broken, "mask": batch["mask"].at[2].set(False)}
        assert np.isfinite(evaluate(state.variables, masked).loss)


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
def test_constant_images_and_batches_that_are_all_padding_leave_finite_numbers(norm):
    batch = random_batch()
    state, step = setup(models.create("shallow_cnn", num_classes=3, norm=norm), optax.sgd(0.1), batch)
    after, report = step(state, {**batch, "image": jnp.full_like(batch["image"], 3)})
    chex.assert_tree_all_finite((after.variables, report))
    after, report = step(state, {**batch, "mask": jnp.zeros(8, bool)})
    chex.assert_trees_all_equal(after.params, state.params)
    chex.assert_tree_all_finite((after.variables, report))
    assert (report.metrics.count, report.metrics.loss) == (0, 0)


@pytest.mark.parametrize("options", [{}, {"grad_accum_steps": 4}])
def test_batch_norm_of_one_value_per_channel_is_refused(options):
    batch = random_batch(4 if options else 1, (1, 1, 3))
    state, step = setup(Normalized(), optax.sgd(0.1), batch, **options)
    with pytest.raises(UserError, match="BatchNorm_0: a batch with one value per channel"):
        step(state, batch)
    make_eval_step(Normalized())(state.variables, batch)  # by its running statistics
    setup(Normalized(), optax.sgd(0.1), batch, freeze_batch_norm=True, **options)[1](state, batch)


def test_label_rows_train_as_labels_do():
    model, batch = models.create("mlp", num_classes=3), random_batch(8)
    state, step = setup(model, optax.sgd(0.1), batch, loss=functools.partial(cross_entropy, smoothing=0.1))
    rows = {**batch, "label": jax.nn.one_hot(batch["label"], 3)}
    chex.assert_trees_all_close(step(state, batch)[0].params, step(state, rows)[0].params, rtol=1e-6)


class Dropped(nn.Module):
    """Dropout in two places and a dense layer."""

    @nn.compact
    def __call__(self, x, *, train):
        x = Dropout(0.5)(x.reshape(x.shape[0], -1), train=train)
        x = Dropout(0.3)(nn.relu(nn.Dense(32)(x)), train=train)
        return nn.Dense(3)(x)


@pytest.mark.parametrize("micro_batches", [2, 4])
def test_accumulation_without_batch_norm_is_one_large_batch_dropout_included(micro_batches):
    """Example j goes to micro-batch j mod k and keeps its mask: the split can't be seen in the result."""
    batch = random_batch(8)
    state, whole = setup(Dropped(), optax.sgd(0.1), batch)
    _, split = setup(Dropped(), optax.sgd(0.1), batch, grad_accum_steps=micro_batches)
    (a, ra), (b, rb) = whole(state, batch), split(state, batch)
    assert relative_error(b.params, a.params) < 1e-6
    chex.assert_trees_all_close(rb.metrics, ra.metrics, rtol=1e-5)
    assert relative_error(rb.grad_norms, ra.grad_norms) < 1e-5
    chex.assert_trees_all_equal_shapes_and_dtypes(a, b)


def test_accumulation_with_batch_norm_is_micro_batch_by_micro_batch():
    """The statistics are each micro-batch's own, and the running ones move once by each, in turn."""
    batch = random_batch(8)
    _, step = setup(Normalized(), optax.sgd(0.1), batch, grad_accum_steps=2)
    state, whole = setup(Normalized(), optax.sgd(0.1), batch)
    after, report = step(state, batch)
    parts = [jax.tree.map(lambda x, i=i: x[i::2], batch) for i in (0, 1)]

    def loss(params, part, stats):
        logits, updates = Normalized().apply(
            {"params": params, "batch_stats": stats}, part["image"], train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, part["label"]).sum() / 8, updates["batch_stats"]

    (loss0, stats), grad0 = jax.value_and_grad(loss, has_aux=True)(state.params, parts[0], state.batch_stats)
    (loss1, stats), grad1 = jax.value_and_grad(loss, has_aux=True)(state.params, parts[1], stats)
    chex.assert_trees_all_close(after.batch_stats, stats, rtol=1e-5)
    np.testing.assert_allclose(report.metrics.loss / 8, loss0 + loss1, rtol=1e-5)
    expected = jax.tree.map(lambda p, a, b: p - 0.1 * (a + b), state.params, grad0, grad1)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-4, atol=1e-6)
    assert relative_error(after.batch_stats, whole(state, batch)[0].batch_stats) > 1e-3


def test_dropout_masks_belong_to_the_example():
    batch, key = random_batch(8), jax.random.key(3)
    x = batch["image"].reshape(8, -1)
    layer = Dropout(0.5)
    whole = layer.apply({}, x, train=True, rngs={"dropout": key})
    part = layer.apply({}, x[5:7], train=True, index=jnp.asarray([5, 6]), rngs={"dropout": key})
    np.testing.assert_array_equal(part, whole[5:7])
    dropped = np.asarray(whole == 0)
    assert 0.4 < dropped.mean() < 0.6
    assert len({row.tobytes() for row in dropped}) == 8


def test_the_step_is_strict_about_types():
    batch = random_batch(8)
    model = models.create("mlp", num_classes=3, dropout=0.5)
    state = create_state(model, optax.sgd(0.1), (4, 4, 3), jax.random.key(0))
    step = make_train_step(
        model, optax.sgd(0.1), loss=functools.partial(cross_entropy, smoothing=0.1), l1=0.1, l2=0.1, grad_accum_steps=2
    )
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(step, state, batch)
        jax.eval_shape(make_eval_step(model), state.variables, batch)
