"""Whether a network behaves differently in training and in evaluation, and rightly so: batch norm and dropout."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from fcnn import augment, models
from fcnn.analysis.sanity.line import Line, judge, skip
from fcnn.analysis.sanity.trial import Trial, compile_once, order, stored, trained
from fcnn.nn import Dropout
from fcnn.training.layers import evaluated
from fcnn.training.metrics import cross_entropy
from fcnn.training.setup import TrainSetup
from fcnn.training.state import TrainState
from fcnn.utils.batch import Batch

PASSES = 60
"""Over the same images, in which running averages that forget a tenth a step must arrive at those images' own."""
GAP = 0.1
"""Difference of the losses that is worth a word."""

Apply = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]


def _apply(model: models.Classifier, *, train: bool) -> Apply:
    """(variables, images, dropout's key) -> logits and the batch statistics afterwards; compiled."""

    @compile_once
    def apply(variables: Any, images: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        collections = ["batch_stats", "aux"]
        with evaluated(model.frozen):
            logits, new = model.apply(variables, images, train=train, mutable=collections, rngs={"dropout": key})
        return logits, new.get("batch_stats", {})

    return apply


def check_modes(setup: TrainSetup, trial: Trial) -> list[Line]:
    """In training, statistics move and dropout drops; in evaluation nothing moves, and an image is by itself."""
    batches = order(setup)
    normalize = jax.jit(augment.normalize(*setup.dataset.mean_std()))
    one, other = (normalize(stored(setup, batches.at(step)[1][:8]))["image"] for step in (0, 1))
    variables, keys = trial.end.variables, [jax.random.key(0), jax.random.key(1)]
    return [
        _training(setup, trial, one, keys),
        _evaluation(_apply(setup.classifier, train=False), variables, one, other, keys),
    ]


def _training(setup: TrainSetup, trial: Trial, images: jax.Array, keys: list[jax.Array]) -> Line:
    if not setup.total_steps:
        return skip("training mode", "nothing is trained")
    start, end = trial.start.batch_stats, trial.end.batch_stats
    norms, frozen = trained(setup, start), start.keys() & setup.trainable.frozen
    drops = _drops(setup.classifier, trial.end.variables, images)
    if not norms and not drops and not frozen:
        return skip("training mode", "no layer of this network behaves differently in training")
    told, ok = [], True
    if norms:
        moved = all(_differ(start[name], end[name]) for name in norms)
        told.append(f"batch norm's running averages {'move' if moved else 'never move'}")
        ok = moved
    if frozen:
        moved = any(_differ(start[name], end[name]) for name in frozen)
        told.append(f"frozen batch norm's running averages {'move' if moved else 'stay'}")
        ok = ok and not moved
    if drops:
        apply = _apply(setup.classifier, train=True)
        a, b = (np.asarray(apply(trial.end.variables, images, key)[0]) for key in keys)
        random = not np.allclose(a, b)
        told.append(f"dropout {'drops' if random else 'drops nothing'}")
        ok = ok and random
    return judge("training mode", ok, "; ".join(told), "hand train=True on to every layer in training")


def _evaluation(apply: Apply, variables: Any, one: jax.Array, other: jax.Array, keys: list[jax.Array]) -> Line:
    half = len(one) // 2
    logits, stats = apply(variables, one, keys[0])
    again, _ = apply(variables, one, keys[1])
    mixed, _ = apply(variables, jax.numpy.concatenate([one[:half], other[half:]]), keys[0])
    scale = float(np.abs(np.asarray(logits)).max()) + 1e-6
    drift = float(np.abs(np.asarray(logits - again)).max()) / scale
    company = float(np.abs(np.asarray(logits - mixed)[:half]).max()) / scale
    moved = _differ(variables["batch_stats"], stats)
    ok = drift < 1e-3 and company < 1e-3 and not moved
    return judge(
        "evaluation mode",
        ok,
        f"logits change by {100 * drift:.2g} % when asked again, by {100 * company:.2g} % with the other images of the "
        f"batch; running averages {'move' if moved else 'stay'}",
        "hand train=False on to every layer in evaluation",
    )


def check_batch_norm(setup: TrainSetup, state: TrainState, batch: Batch) -> Line:
    """Once the running averages have arrived, evaluation has the loss of training on the same images.

    Args:
      state: a network that has overfitted `batch`.
    """
    if not trained(setup, state.batch_stats):
        return skip("batch norm", "all of it is frozen" if state.batch_stats else "there is none")
    model, key = setup.classifier.clone(dropout=0.0), jax.random.key(0)
    train, evaluate = _apply(model, train=True), _apply(model, train=False)
    variables = state.variables
    logits, _ = train(variables, batch["image"], key)
    for _ in range(PASSES):
        variables = {**variables, "batch_stats": train(variables, batch["image"], key)[1]}
    losses = [
        float(cross_entropy(found, batch["label"]).mean())
        for found in (logits, evaluate(variables, batch["image"], key)[0])
    ]
    return judge(
        "batch norm",
        bool(np.isfinite(losses).all()) and abs(losses[1] - losses[0]) < GAP,
        f"loss {losses[0]:.3f} by the batch's statistics, {losses[1]:.3f} by running averages after {PASSES} passes "
        "over the same images",
        "a momentum nearer to 0.9, or --model.norm group, which knows no running averages",
    )


def _drops(model: models.Classifier, variables: Any, images: jax.Array) -> bool:
    """Whether the network has a dropout layer with a rate above 0; where layers are frozen, one that is in training."""
    rates = [0.0]

    def note(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, Dropout) and (not model.frozen or kwargs["train"]):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        key, collections = {"dropout": jax.random.key(0)}, ["batch_stats", "aux"]
        jax.eval_shape(lambda x: model.apply(variables, x, train=True, mutable=collections, rngs=key), images)
    return max(rates) > 0


def _differ(a: Any, b: Any) -> bool:
    """Whether two trees of arrays differ anywhere."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(not np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)
