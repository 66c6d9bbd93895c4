"""One step of training, one of evaluation: pure functions of a state and a batch, compiled elsewhere.

They know nothing of devices but for one optional `axis_name`, over which sums are taken explicitly where each device
runs a program of its own.
"""

import contextlib
import functools
from collections.abc import Callable, Collection
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcnn.training.layers import by_example, evaluated, refuse_single_values, running_averages, synchronized
from fcnn.training.metrics import (
    ClassMetrics,
    LogitsLoss,
    Metrics,
    compute_class_metrics,
    compute_metrics,
    cross_entropy,
    label_rows,
    no_metrics,
)
from fcnn.training.optim import check_layers, penalty, schedule_free_params
from fcnn.training.state import TrainState
from fcnn.utils.batch import Batch


class StepReport(flax.struct.PyTreeNode):
    """What a training step returns beside the state."""

    metrics: Metrics
    """Of the batch, before the update."""
    grad_norms: Any
    """The L2 norm of each parameter's gradient, before clipping, as a tree like the params'."""


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, StepReport]]
EvalStep = Callable[[dict[str, Any], Batch], ClassMetrics]
Preprocess = Callable[[jax.Array, Batch], Batch]
"""`(key, batch) -> batch`, pure: augmentation, normalization."""


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    preprocess: Preprocess | None = None,
    loss: LogitsLoss = cross_entropy,
    l1: float = 0.0,
    l2: float = 0.0,
    decay_mask: str = "kernels",
    grad_accum_steps: int = 1,
    ema_decay: float | None = None,
    schedule_free: bool = False,
    class_weights: np.ndarray | None = None,
    frozen: Collection[str] = (),
    axis_name: str | None = None,
    sync_batch_norm: bool = True,
    freeze_batch_norm: bool = False,
) -> TrainStep:
    """Returns the update from one batch, which `preprocess` augments and normalizes first.

    The loss is the mean of `loss(logits, labels)`, (B,), over the batch's unmasked examples, plus those of the
    auxiliary heads times their weights, plus the penalties; with `class_weights`, (classes,), the mean is weighted by
    those of the labels: sum_i w_i loss_i / sum_i w_i. The metrics are the main head's alone and unweighted.

    With `grad_accum_steps` = k, example j goes to micro-batch j mod k, and the gradient is that of the same mean: for a
    model without batch norm the update equals the one of the whole batch up to rounding. Batch norm sees each
    micro-batch by itself: it normalizes by that one's statistics, and the running averages move k times a step, once by
    each in turn.

    With `axis_name` the batch is a device's share of one, all of the same size, and the result is the whole batch's,
    the same on all devices. Batch norm normalizes by the whole batch with `sync_batch_norm`, else by the device's
    share; running averages become the devices' means.

    With `ema_decay`, the state's moving averages follow (`_moving_average`). With `schedule_free` they are the average
    in the optimizer's state, and the running statistics of the weights where the gradient is taken.

    The layers named in `frozen`, in the top level of the variables, stay as they are to the last bit and run as in
    evaluation (`evaluated`): they have no gradient, and neither weight decay, penalties nor averages touch them. With
    `optim.freeze` the optimizer keeps no moments of them either. With `freeze_batch_norm` every batch norm normalizes
    by its running statistics, which stay as they are.

    The metrics' loss is NaN if a label is no class or an image that counts isn't finite. Where masked examples are in a
    batch, batch norm sees them.

    Raises:
      UserError: on the first call, `frozen` names a layer that isn't there, or one that can't be frozen; or a batch
        norm has one value per channel to normalize.
    """
    gradient = _make_gradient(
        model,
        loss=loss,
        class_weights=class_weights,
        grad_accum_steps=grad_accum_steps,
        frozen=frozen,
        axis_name=axis_name,
        sync_batch_norm=sync_batch_norm,
        freeze_batch_norm=freeze_batch_norm,
    )

    optimizer = optax.with_extra_args_support(optimizer)
    with_frozen = functools.partial(_with_frozen, frozen=frozen)

    def penalties(params: Any) -> jax.Array:
        trained = {name: layer for name, layer in params.items() if name not in frozen} if frozen else params
        return penalty(trained, l1=l1, l2=l2, kind=decay_mask)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepReport]:
        check_layers(frozen, [*state.params, *state.batch_stats])
        key = jax.random.fold_in(state.key, state.step)
        if preprocess is not None:
            # Another key than the model's dropout has.
            batch = {**preprocess(jax.random.fold_in(key, 1), {**batch, "step": state.step})}
            batch.pop("step", None)

        def gradient_at(params: Any) -> tuple[Any, Any, Metrics]:
            grads, batch_stats, metrics = gradient(params, state.batch_stats, batch, key)
            if l1 or l2:
                grads = jax.tree.map(jnp.add, grads, jax.grad(penalties)(params))
            return grads, batch_stats, metrics

        grads, batch_stats, metrics = gradient_at(state.params)
        batch_stats = with_frozen(batch_stats, state.batch_stats)
        norms = jax.tree.map(lambda grad: jnp.sqrt(jnp.square(grad).sum()), grads)
        updates, opt_state = optimizer.update(
            grads, state.opt_state, state.params, grad_fn=lambda params, _: gradient_at(params)[0]
        )
        params = with_frozen(optax.apply_updates(state.params, updates), state.params)
        variables, ema = {"params": params, "batch_stats": batch_stats}, state.ema
        if ema_decay is not None:
            average = _moving_average(ema, variables, ema_decay, state.step)
            ema = {name: with_frozen(average[name], ema[name]) for name in average}
        elif schedule_free:
            ema = {"params": schedule_free_params(opt_state, params), "batch_stats": batch_stats}
        new_state = state.replace(step=state.step + 1, **variables, opt_state=opt_state, ema=ema)
        return new_state, StepReport(metrics=metrics, grad_norms=norms)

    return train_step


def _with_frozen(new: Any, old: Any, *, frozen: Collection[str]) -> Any:
    """Returns `new` with the frozen layers of `old`."""
    # Not by adding zero: -0 + 0 has another bit pattern than -0, and an average of equals rounds.
    return {name: old[name] if name in frozen else new[name] for name in new} if frozen else new


def _moving_average(average: Any, new: Any, decay: float, step: jax.Array) -> Any:
    """Keeps the share min(decay, (1 + t) / (10 + t)) of an average in step t, from 0, so that the first weights, which
    are random, are soon forgotten (TensorFlow's `tf.train.ExponentialMovingAverage` with `num_updates`)."""
    # 1 - (1 + t) / (10 + t), without a difference of two numbers near 1 in float32.
    new_share = jnp.maximum(1 - decay, 9 / (10 + step.astype(jnp.float32)))
    return optax.incremental_update(new, average, new_share)


def _make_gradient(
    model: nn.Module,
    *,
    loss: LogitsLoss,
    class_weights: np.ndarray | None,
    grad_accum_steps: int,
    frozen: Collection[str],
    axis_name: str | None,
    sync_batch_norm: bool,
    freeze_batch_norm: bool,
) -> Callable[[Any, Any, Batch, jax.Array], tuple[Any, Any, Metrics]]:
    """(params, batch_stats, batch, key) -> the gradient of the loss without penalties, new batch_stats, metrics."""

    def loss_fn(params: Any, batch_stats: Any, batch: Batch, key: jax.Array, total: jax.Array) -> tuple:
        params = {name: jax.lax.stop_gradient(layer) if name in frozen else layer for name, layer in params.items()}
        with contextlib.ExitStack() as contexts:
            if frozen:
                contexts.enter_context(evaluated(frozen))
            if freeze_batch_norm:
                contexts.enter_context(running_averages())
            contexts.enter_context(by_example(batch["index"]))
            if axis_name is not None and sync_batch_norm:
                contexts.enter_context(synchronized(axis_name))
            contexts.enter_context(refuse_single_values())  # the last to see a call: after those that change its layer
            logits, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                batch["image"],
                train=True,
                mutable=["batch_stats", "aux"],
                rngs={"dropout": key},
            )
        logits = _where_finite(batch["image"], logits)
        losses = loss(logits, batch["label"])
        for aux_logits, weight in (updates.get("aux") or {}).values():
            losses += weight * loss(aux_logits, batch["label"])
        mean = jnp.where(batch["mask"], losses * _weights(batch, class_weights), 0).sum() / total
        metrics = compute_metrics(logits, batch["label"], batch["mask"])
        return mean, (updates.get("batch_stats", {}), metrics)

    grad = jax.grad(loss_fn, has_aux=True)

    def gradient(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> tuple[Any, Any, Metrics]:
        total = _sum(_weights(batch, class_weights).sum(), axis_name)

        def add(carry: tuple, batch: Batch) -> tuple[tuple, None]:
            grads, batch_stats, metrics = carry
            new, (batch_stats, measured) = grad(params, batch_stats, batch, key, total)
            return (jax.tree.map(jnp.add, grads, new), batch_stats, jax.tree.map(jnp.add, metrics, measured)), None

        if grad_accum_steps == 1:
            grads, (batch_stats, metrics) = grad(params, batch_stats, batch, key, total)
        else:
            # (k x m, ...) -> (k, m, ...) with example j in micro-batch j mod k.
            micro = jax.tree.map(lambda x: x.reshape(-1, grad_accum_steps, *x.shape[1:]).swapaxes(0, 1), batch)
            start = (jax.tree.map(jnp.zeros_like, params), batch_stats, no_metrics())
            (grads, batch_stats, metrics), _ = jax.lax.scan(add, start, micro)
        if axis_name is not None:
            batch_stats = jax.lax.pmean(batch_stats, axis_name)
        return _sum(grads, axis_name), batch_stats, _sum(metrics, axis_name)

    return gradient


def _weights(batch: Batch, class_weights: np.ndarray | None) -> jax.Array:
    """What each example counts, (B,), none where it's masked; mixed labels count as the mixture of their classes."""
    if class_weights is None:
        return batch["mask"].astype(jnp.float32)
    rows = label_rows(batch["label"], len(class_weights))
    return jnp.where(batch["mask"], rows @ jnp.asarray(class_weights), 0)


def make_eval_step(model: nn.Module, *, axis_name: str | None = None) -> EvalStep:
    """The metrics of one batch with running statistics and without dropout."""

    def eval_step(variables: dict[str, Any], batch: Batch) -> ClassMetrics:
        logits = _where_finite(batch["image"], model.apply(variables, batch["image"], train=False))
        return _sum(compute_class_metrics(logits, batch["label"], batch["mask"]), axis_name)

    return eval_step


def _where_finite(images: jax.Array, logits: Any) -> jax.Array:
    """Makes an image's logits NaN unless its pixels are finite: oneDNN's ReLU, unlike XLA's, makes 0 of NaN."""
    return jnp.where(jnp.isfinite(images).all(axis=tuple(range(1, images.ndim)))[:, None], logits, jnp.nan)


def _sum(tree: Any, axis_name: str | None) -> Any:
    """The sum over the devices; None is the one program that sees everything and has nothing to add."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)
