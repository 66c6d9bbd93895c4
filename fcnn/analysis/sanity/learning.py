"""Whether a network can learn at all, and does: the loss before, in and after a few steps, and every gradient."""

import math

import jax
import numpy as np
import optax

from fcnn import augment
from fcnn.analysis.sanity.line import Line, judge
from fcnn.analysis.sanity.rates import LOW
from fcnn.analysis.sanity.trial import Trial, by_path, compile_once, order, start_state, stored, trained
from fcnn.training.optim import freeze
from fcnn.training.setup import TrainSetup
from fcnn.training.state import TrainState
from fcnn.training.step import make_eval_step, make_train_step
from fcnn.utils.batch import Batch

EXAMPLES, ENOUGH, MOST_STEPS = 8, 0.01, 500
"""So many images must be overfitted, to this loss, in so many steps."""


def check_initial_loss(setup: TrainSetup, loss: float) -> Line:
    """Before it has learned anything, a network should believe in every class alike: a loss of ln(classes). One that
    was trained may know better, but not worse."""
    guess = math.log(setup.model.num_classes)
    least = 0.5 * guess
    hint = "too high: initialize the classifier smaller, or normalize the inputs; too low: something tells the label"
    if setup.transferred:
        least, hint = (
            0.0,
            "the weights' classes are others than these, or their normalization doesn't suit these images",
        )
    return judge(
        "initial loss",
        least <= loss <= 1.5 * guess + 1,
        f"{loss:.3f}; guessing has ln({setup.model.num_classes}) = {guess:.3f}",
        hint,
    )


def evaluation_loss(setup: TrainSetup, state: TrainState, batch: Batch) -> float:
    """Returns the mean cross-entropy of normalized images in evaluation."""
    metrics = compile_once(make_eval_step(setup.model))(state.variables, batch)
    return float(metrics.loss) / float(metrics.count)


def check_first_steps(setup: TrainSetup, trial: Trial) -> Line:
    """The loss falls at the run's own learning rate."""
    losses = trial.losses
    part = max(len(losses) // 5, 1)
    before, after = float(losses[:part].mean()), float(losses[-part:].mean())
    low = LOW * math.log(setup.model.num_classes)
    ok = math.isfinite(after) and (after < 0.98 * min(before, float(losses[0])) or after < low)
    return judge(
        "first steps",
        ok,
        f"loss {float(losses[0]):.3f} at first, {after:.3f} over the last {part} of {len(losses)} steps",
        f"--optim.learning-rate {setup.config.optim.learning_rate:g} is too high or far too low: see the line below on "
        "it; or the sign of the update, or the labels, are wrong",
    )


def check_gradients(setup: TrainSetup, trial: Trial) -> Line:
    """Every parameter that is trained gets a gradient and moves; what is frozen stays."""
    norms, start, end = trial.largest_norms, by_path(trial.start.params), by_path(trial.end.params)
    names = trained(setup, start)
    still = {name for name in start if np.array_equal(start[name], end[name])}
    without = [name for name in names if norms[name] == 0]
    fixed = [name for name in names if name in still and name not in without]
    moved = [name for name in start if name not in names and name not in still]
    reasons = [f"{len(names)} parameters, gradients up to {max(norms.values()):.2g}"]
    if len(names) < len(start):
        reasons.append(f"{len(start) - len(names)} are frozen")
    for found, words in (
        (without, "never had a gradient"),
        (fixed, "had one and didn't move"),
        (moved, "are frozen and moved"),
    ):
        if found:
            reasons.append(f"{len(found)} {words}: {', '.join(found[:4])}")
    return judge(
        "gradients",
        not without and not fixed and not moved,
        "; ".join(reasons),
        "without a gradient: a kernel of zeros behind it, a dead activation, stop_gradient, or an unused layer; "
        "not moved: the optimizer's mask leaves it out",
    )


def overfit(setup: TrainSetup) -> tuple[TrainState, Batch, list[float]]:
    """Overfits a few images with Adam, from the run's first state, without augmentation, dropout or penalties.

    Returns:
      The state, the batch and the loss of each step.
    """
    frozen = setup.trainable.frozen
    # A head alone is a convex problem, which takes a larger rate.
    model, optimizer = setup.model.clone(dropout=0.0), freeze(optax.adam(1e-2 if frozen else 1e-3), frozen)
    indices = order(setup).at(0)[1][:EXAMPLES]
    batch = jax.jit(augment.normalize(*setup.dataset.mean_std()))(stored(setup, indices))
    state = start_state(setup)
    state = state.replace(opt_state=optimizer.init(state.params), ema=None)
    step = compile_once(make_train_step(model, optimizer, frozen=frozen))
    losses: list[float] = []
    while len(losses) < MOST_STEPS and not (losses and losses[-1] < ENOUGH):
        state, report = step(state, batch)
        losses.append(float(report.metrics.loss) / float(report.metrics.count))
    return state, batch, losses


def check_overfit(losses: list[float]) -> Line:
    """A network that can't overfit eight images will not learn eight thousand."""
    return judge(
        "overfit",
        losses[-1] < ENOUGH,
        f"{EXAMPLES} images fitted to a loss of {losses[-1]:.4f} in {len(losses)} steps",
        "the network is too small, its signal dies on the way, or its loss, labels or gradients are wrong: look at the "
        "other lines that fail first",
    )
