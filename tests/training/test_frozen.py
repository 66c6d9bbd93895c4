"""Freezing layers of one's own Flax model: they run as in evaluation and stay; a name that isn't there is an error."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from harness import random_variables

from fcnn import nn as ours
from fcnn.training.optim import freeze, scale_rates
from fcnn.training.state import create_state
from fcnn.training.step import make_train_step
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError


class Stem(nn.Module):
    """Every way to tell Flax's layers that it is training: by field, by name, by position; and our own layers."""

    kind: str

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(8, name="dense")(x.reshape(len(x), -1))
        if self.kind == "field":
            x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
            x = nn.Dropout(0.5, deterministic=not train)(x)
        elif self.kind == "keyword":
            x = nn.BatchNorm(name="norm")(x, use_running_average=not train)
            x = nn.Dropout(0.5)(x, deterministic=not train)
        elif self.kind == "position":
            x = nn.BatchNorm(name="norm")(x, not train)
            x = nn.Dropout(0.5)(x, not train, self.make_rng("dropout") if train else None)
        elif self.kind == "remat":
            x = nn.remat(nn.BatchNorm)(use_running_average=not train, name="norm")(x)
        elif self.kind == "spectral":
            x = nn.SpectralNorm(nn.Dense(8), name="norm")(x, update_stats=train)
        else:
            x = ours.BatchNorm(not train, name="norm")(x, relu=True)
            x = ours.Dropout(0.5)(x, train=train)
        return x


class Net(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x, *, train):
        x = Stem(self.kind, name="stem")(x, train)
        x = nn.BatchNorm(not train, name="bn")(x)
        return nn.Dense(3, name="head")(x)


BATCH = make_batch(
    jnp.asarray(3 + np.random.default_rng(0).normal(size=(8, 4, 4, 1)), jnp.float32), jnp.arange(8, dtype=jnp.int32) % 3
)
KINDS = ("field", "keyword", "position", "remat", "spectral", "ours")


def start(model, optimizer, frozen, **options):
    state = create_state(model, optimizer, (4, 4, 1), jax.random.key(0), ema=True)
    state = state.replace(**random_variables(state.variables))
    return state, jax.jit(make_train_step(model, optimizer, frozen=frozen, ema_decay=0.9, **options))


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_layer_runs_as_in_evaluation(kind):
    """With everything but the head frozen, the loss of a training step is that of evaluation, dropout included."""
    model, frozen = Net(kind), {"stem", "bn"}
    state, step = start(model, freeze(optax.adamw(0.1, weight_decay=0.1), frozen), frozen)
    logits: Any = model.apply(state.variables, BATCH["image"], train=False)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, BATCH["label"]).sum()
    new, report = step(state, BATCH)
    np.testing.assert_allclose(report.metrics.loss, expected, rtol=1e-5)
    for name in ("params", "batch_stats"):
        for layer, tree in getattr(state, name).items():
            same = bits(tree) == bits(getattr(new, name)[layer])
            assert same == (layer in frozen), (name, layer)
    # Without freezing it is another loss: by the batch's statistics, and with dropout.
    state, step = start(model, optax.sgd(0.1), ())
    assert abs(float(step(state, BATCH)[1].metrics.loss) - float(expected)) > 0.1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "spectral"])
def test_batch_norm_alone_runs_as_in_evaluation_and_learns(kind):
    model = Net(kind)
    state, step = start(model, optax.sgd(0.1), (), freeze_batch_norm=True)
    new, report = step(state, BATCH)
    for name, stays in (("batch_stats", True), ("params", False)):
        for layer, tree in getattr(state, name).items():
            assert (bits(tree) == bits(getattr(new, name)[layer])) is stays, (name, layer)
    if kind == "remat":  # which has no dropout
        logits: Any = model.apply(state.variables, BATCH["image"], train=False)
        expected = optax.softmax_cross_entropy_with_integer_labels(logits, BATCH["label"]).sum()
        np.testing.assert_allclose(report.metrics.loss, expected, rtol=1e-5)


def test_what_is_frozen_has_no_gradient_and_no_part_in_clipping():
    """So that the update is that of the other layers alone, whether or not the optimizer knows."""
    frozen, optimizer = {"stem", "bn"}, optax.chain(optax.clip_by_global_norm(0.01), optax.adamw(0.1, weight_decay=0.1))
    heads = []
    for each in (optimizer, freeze(optimizer, frozen)):
        state, step = start(Net("field"), each, frozen, l2=0.1, grad_accum_steps=2)
        new, report = step(state, BATCH)
        norms = jax.device_get(report.grad_norms)
        assert all(norm == 0 for layer in frozen for norm in jax.tree.leaves(norms[layer]))
        assert all(norm > 0 for norm in jax.tree.leaves(norms["head"]))
        assert bits([new.params[layer] for layer in frozen]) == bits([state.params[layer] for layer in frozen])
        heads.append(new.params["head"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *heads)


class Own(nn.Module):
    """A normalization that nobody knows."""

    @nn.compact
    def __call__(self, x, *, train):
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        if train:
            mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
        return nn.Dense(3, name="head")(x - (x.mean(0, keepdims=True) if train else mean.value[None]))


class WithOwn(nn.Module):
    norm_trains: bool

    @nn.compact
    def __call__(self, x, *, train):
        x = Own(name="own")(x.reshape(len(x), -1), train=train and self.norm_trains)
        return nn.Dense(3, name="head")(x)


def test_what_can_not_be_frozen_is_refused():
    state, step = start(WithOwn(True), optax.sgd(0.1), {"own"})
    with pytest.raises(
        UserError, match="frozen layer own: a Own can't be switched to its running statistics from outsi"
    ):
        step(state, BATCH)
    state, step = start(WithOwn(False), optax.sgd(0.1), {"own"})  # which the model itself calls as in evaluation
    assert bits(step(state, BATCH)[0].batch_stats) == bits(state.batch_stats)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stem/kernel", "unknown layer 'stem/kernel'; .*it is inside of stem, which can be frozen as a whole"),
        ("hed", "unknown layer 'hed'; did you mean head"),
        ("conv", "unknown layer 'conv'"),
    ],
)
def test_a_layer_that_is_not_there_is_an_error(name, words):
    state, step = start(Net("field"), optax.sgd(0.1), {"stem", name})
    with pytest.raises(UserError, match=words):
        step(state, BATCH)
    for optimizer in (freeze(optax.sgd(0.1), {name}), scale_rates(optax.sgd(0.1), {name: 0.5})):
        with pytest.raises(UserError, match=words):
            optimizer.init(state.params)
