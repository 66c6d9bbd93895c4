"""Whether a network behaves differently in training and in evaluation, and rightly so: batch norm and dropout."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from fcnn.analysis.sanity.result import CheckResult, check, skip
from fcnn.analysis.sanity.trial import Trial, batch_of, compile_once, trained, with_fields
from fcnn.nn import Dropout
from fcnn.training.layers import evaluated
from fcnn.training.metrics import cross_entropy
from fcnn.training.setup import TrainSetup
from fcnn.training.state import TrainState
from fcnn.utils.batch import Batch

PASSES = 60
"""Over the same images, in which running averages that forget a tenth a step must arrive at those images' own."""
GAP = 0.1
"""A difference of the losses that is reported."""

COLLECTIONS = ["batch_stats", "aux"]


def _apply(
    setup: TrainSetup, *, train: bool, **fields: Any
) -> Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]:
    """(variables, images, dropout's key) -> logits and the batch statistics afterwards; compiled."""
    model: Any = with_fields(setup.model, **fields)

    @compile_once
    def apply(variables: Any, images: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        with evaluated(setup.trainable.frozen):
            logits, new = model.apply(variables, images, train=train, mutable=COLLECTIONS, rngs={"dropout": key})
        return logits, new.get("batch_stats", {})

    return apply


def check_modes(setup: TrainSetup, trial: Trial) -> list[CheckResult]:
    """In training, statistics move and dropout drops; in evaluation nothing moves, and an image is by itself."""
    one, other = (jax.jit(setup.normalize())(batch_of(setup, step))["image"][:8] for step in (0, 1))
    keys = [jax.random.key(0), jax.random.key(1)]
    return [_check_training(setup, trial, one, keys), _check_evaluation(setup, trial.end.variables, one, other, keys)]


def _check_training(setup: TrainSetup, trial: Trial, images: jax.Array, keys: list[jax.Array]) -> CheckResult:
    if not setup.total_steps:
        return skip("training mode", "nothing is trained")
    start, end = trial.start.batch_stats, trial.end.batch_stats
    norms, frozen = trained(setup, start), start.keys() & setup.trainable.frozen
    drops = _drops(setup, trial.end.variables, images)
    if not norms and not drops and not frozen:
        return skip("training mode", "no layer of this network behaves differently in training")
    reasons, ok = [], True
    if norms:
        ok = all(_differ(start[name], end[name]) for name in norms)
        reasons.append(f"batch norm's running averages {'move' if ok else 'never move'}")
    if frozen:
        moved = any(_differ(start[name], end[name]) for name in frozen)
        reasons.append(f"frozen batch norm's running averages {'move' if moved else 'stay'}")
        ok = ok and not moved
    if drops:
        apply = _apply(setup, train=True)
        a, b = (np.asarray(apply(trial.end.variables, images, key)[0]) for key in keys)
        random = not np.allclose(a, b)
        reasons.append(f"dropout {'drops' if random else 'drops nothing'}")
        ok = ok and random
    return check("training mode", ok, "; ".join(reasons), "pass train=True to every layer in training")


def _check_evaluation(
    setup: TrainSetup, variables: Any, one: jax.Array, other: jax.Array, keys: list[jax.Array]
) -> CheckResult:
    apply, half = _apply(setup, train=False), len(one) // 2
    logits, stats = apply(variables, one, keys[0])
    again, _ = apply(variables, one, keys[1])
    mixed, _ = apply(variables, jax.numpy.concatenate([one[:half], other[half:]]), keys[0])
    scale = float(np.abs(np.asarray(logits)).max()) + 1e-6
    drift = float(np.abs(np.asarray(logits - again)).max()) / scale
    company = float(np.abs(np.asarray(logits - mixed)[:half]).max()) / scale
    moved = _differ(variables["batch_stats"], stats)
    return check(
        "evaluation mode",
        drift < 1e-3 and company < 1e-3 and not moved,
        f"logits change by {100 * drift:.2g} % when computed again, by {100 * company:.2g} % with the other images of "
        f"the batch; running averages {'move' if moved else 'stay'}",
        "pass train=False to every layer in evaluation",
    )


def check_batch_norm(setup: TrainSetup, state: TrainState, batch: Batch) -> CheckResult:
    """Once the running averages have arrived, evaluation has the loss of training on the same images.

    Args:
      state: a network that has overfitted `batch`.
    """
    if not trained(setup, state.batch_stats):
        return skip("batch norm", "all of it is frozen" if state.batch_stats else "there is none")
    train, evaluate = (_apply(setup, train=train, dropout=0.0) for train in (True, False))
    key = jax.random.key(0)
    variables, images, label = state.variables, batch["image"], batch["label"]
    by_batch, _ = train(variables, images, key)
    for _ in range(PASSES):
        variables = {**variables, "batch_stats": train(variables, images, key)[1]}
    by_averages, _ = evaluate(variables, images, key)
    losses = [float(cross_entropy(logits, label).mean()) for logits in (by_batch, by_averages)]
    return check(
        "batch norm",
        bool(np.isfinite(losses).all()) and abs(losses[1] - losses[0]) < GAP,
        f"loss {losses[0]:.3f} by the batch's statistics, {losses[1]:.3f} by running averages after {PASSES} passes "
        "over the same images",
        "a momentum nearer to 0.9, or --model.norm group, which has no running averages",
    )


def _drops(setup: TrainSetup, variables: Any, images: jax.Array) -> bool:
    """Whether the network has a dropout layer with a rate above 0; where layers are frozen, one that is in training."""
    model, rates = setup.model, [0.0]

    def note(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.Dropout):
            rates.append(context.module.rate)
        if isinstance(context.module, Dropout) and (not setup.trainable.frozen or kwargs["train"]):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        key = {"dropout": jax.random.key(0)}
        jax.eval_shape(lambda x: model.apply(variables, x, train=True, mutable=COLLECTIONS, rngs=key), images)
    return max(rates) > 0


def _differ(a: Any, b: Any) -> bool:
    """Whether two trees of arrays differ anywhere."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(not np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)
