"""Whether a network can learn at all, and does: the loss before, in and after a few steps, and every gradient."""

import math

import jax
import numpy as np
import optax

from fcnn import augment
from fcnn.batch import Batch
from fcnn.experiment import Experiment
from fcnn.sanity.line import Line, judge
from fcnn.sanity.trial import Trial, by_path, compile_once, order, stored
from fcnn.state import TrainState, create_state
from fcnn.step import make_train_step

EXAMPLES, ENOUGH, MOST_STEPS = 8, 0.01, 500
"""So many images must be learnt by heart, to this loss, in so many steps."""


def check_initial_loss(exp: Experiment, trial: Trial) -> Line:
    """Before it has learnt anything, a network should believe in every class alike: a loss of ln(classes)."""
    guess, loss = math.log(exp.model.num_classes), float(trial.losses[0])
    return judge(
        "initial loss",
        0.5 * guess <= loss <= 1.5 * guess + 1,
        f"{loss:.3f}; guessing has ln({exp.model.num_classes}) = {guess:.3f}",
        "too high: initialize the classifier smaller, or normalize the inputs; too low: something tells the label",
    )


def check_first_steps(exp: Experiment, trial: Trial) -> Line:
    """The loss falls at the run's own learning rate."""
    losses = trial.losses
    part = max(len(losses) // 5, 1)
    before, after = float(losses[:part].mean()), float(losses[-part:].mean())
    ok = math.isfinite(after) and after < 0.98 * min(before, float(losses[0]))
    return judge(
        "first steps",
        ok,
        f"loss {float(losses[0]):.3f} at first, {after:.3f} over the last {part} of {len(losses)} steps",
        f"--optim.learning-rate {exp.config.optim.learning_rate:g} is too high or far too low: see the line below on "
        "it; or the sign of the update, or the labels, are wrong",
    )


def check_gradients(trial: Trial) -> Line:
    """Every parameter gets a gradient and moves."""
    without = [name for name, norm in trial.largest_norms.items() if norm == 0]
    start, end = by_path(trial.start.params), by_path(trial.end.params)
    fixed = [name for name in start if np.array_equal(start[name], end[name]) and name not in without]
    told = [f"{len(start)} parameters, gradients up to {max(trial.largest_norms.values()):.2g}"]
    if without:
        told.append(f"{len(without)} never had a gradient: {', '.join(without[:4])}")
    if fixed:
        told.append(f"{len(fixed)} had one and didn't move: {', '.join(fixed[:4])}")
    return judge(
        "gradients",
        not without and not fixed,
        "; ".join(told),
        "without a gradient: a kernel of zeros behind it, a dead activation, stop_gradient, or an unused layer; "
        "not moved: the optimizer's mask leaves it out",
    )


def overfit(exp: Experiment) -> tuple[TrainState, Batch, list[float]]:
    """Learns a few images by heart with Adam, without augmentation, dropout or penalties.

    Returns:
      The state, the batch and the loss of each step.
    """
    model, optimizer = exp.model.clone(dropout=0.0), optax.adam(1e-3)
    indices = order(exp).at(0)[1][:EXAMPLES]
    batch = jax.jit(augment.normalize(*exp.dataset.mean_std()))(stored(exp, indices))
    state = create_state(model, optimizer, exp.dataset.train.shape, jax.random.key(exp.config.seed))
    step = compile_once(make_train_step(model, optimizer))
    losses: list[float] = []
    while len(losses) < MOST_STEPS and not (losses and losses[-1] < ENOUGH):
        state, report = step(state, batch)
        losses.append(float(report.metrics.loss) / float(report.metrics.count))
    return state, batch, losses


def check_overfit(losses: list[float]) -> Line:
    """A network that can't learn eight images by heart will not learn eight thousand."""
    return judge(
        "overfit",
        losses[-1] < ENOUGH,
        f"{EXAMPLES} images learnt to a loss of {losses[-1]:.4f} in {len(losses)} steps",
        "the network is too small, its signal dies on the way, or its loss, labels or gradients are wrong: look at the "
        "other lines that fail first",
    )
