"""Whether a network can learn at all, and does: the loss before, in and after a few steps, and every gradient."""

import math

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from fcnn.analysis.sanity.learning_rate import LOW
from fcnn.analysis.sanity.result import CheckResult, check
from fcnn.analysis.sanity.trial import Trial, batch_of, compile_once, start_state, trained, with_fields
from fcnn.training.optim import freeze
from fcnn.training.setup import TrainSetup
from fcnn.training.state import TrainState
from fcnn.training.step import make_eval_step, make_train_step
from fcnn.utils.batch import Batch

EXAMPLES, ENOUGH, MOST_STEPS = 8, 0.01, 500
"""So many images must be overfitted, to this loss, in so many steps."""


def check_initial_loss(setup: TrainSetup, loss: float) -> CheckResult:
    """Before it has learned anything, a network should believe in every class alike: a loss of ln(classes). One that
    was trained may know better, but not worse."""
    guess = math.log(len(setup.dataset.classes))
    least = 0.0 if setup.transferred else 0.5 * guess
    hint = "too high: initialize the classifier smaller, or normalize the inputs; too low: the inputs contain the label"
    if setup.transferred:
        hint = "the weights' classes are others than these, or their normalization doesn't suit these images"
    return check(
        "initial loss",
        least <= loss <= 1.5 * guess + 1,
        f"{loss:.3f}; guessing has ln({len(setup.dataset.classes)}) = {guess:.3f}",
        hint,
    )


def evaluation_loss(setup: TrainSetup, state: TrainState, batch: Batch) -> float:
    """Returns the mean cross-entropy of normalized images in evaluation."""
    metrics = compile_once(make_eval_step(setup.model))(state.variables, batch)
    return float(metrics.loss) / float(metrics.count)


def check_first_steps(setup: TrainSetup, trial: Trial) -> CheckResult:
    """The loss falls at the run's own learning rate."""
    losses = trial.losses
    part = max(len(losses) // 5, 1)
    before, after = float(losses[:part].mean()), float(losses[-part:].mean())
    low = LOW * math.log(len(setup.dataset.classes))
    ok = math.isfinite(after) and (after < 0.98 * min(before, float(losses[0])) or after < low)
    return check(
        "first steps",
        ok,
        f"loss {float(losses[0]):.3f} at first, {after:.3f} over the last {part} of {len(losses)} steps",
        f"--optim.learning-rate {setup.config.optim.learning_rate:g} is too high or far too low: see the line below on "
        "it; or the sign of the update, or the labels, are wrong",
    )


def check_gradients(setup: TrainSetup, trial: Trial) -> CheckResult:
    """Every parameter that is trained gets a gradient and moves; what is frozen stays."""
    norms = trial.largest_norms
    start, end = (flatten_dict(jax.device_get(state.params), sep="/") for state in (trial.start, trial.end))
    names = trained(setup, start)
    still = {name for name in start if np.array_equal(start[name], end[name])}
    without = [name for name in names if norms[name] == 0]
    fixed = [name for name in names if name in still and name not in without]
    moved = [name for name in start if name not in names and name not in still]
    reasons = [f"{len(names)} parameters, gradients up to {max(norms.values()):.2g}"]
    if len(names) < len(start):
        reasons.append(f"{len(start) - len(names)} are frozen")
    faults = {"never had a gradient": without, "had one and didn't move": fixed, "are frozen and moved": moved}
    reasons += [f"{len(paths)} {fault}: {', '.join(paths[:4])}" for fault, paths in faults.items() if paths]
    return check(
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
    model, optimizer = with_fields(setup.model, dropout=0.0), freeze(optax.adam(1e-2 if frozen else 1e-3), frozen)
    batch = jax.jit(setup.normalize())(jax.tree.map(lambda array: array[:EXAMPLES], batch_of(setup, 0)))
    state = start_state(setup)
    state = state.replace(opt_state=optimizer.init(state.params), ema=None)
    step = compile_once(make_train_step(model, optimizer, frozen=frozen))
    losses: list[float] = []
    while len(losses) < MOST_STEPS and not (losses and losses[-1] < ENOUGH):
        state, report = step(state, batch)
        losses.append(float(report.metrics.loss) / float(report.metrics.count))
    return state, batch, losses


def check_overfit(losses: list[float]) -> CheckResult:
    """A network that can't overfit eight images will not learn eight thousand."""
    return check(
        "overfit",
        losses[-1] < ENOUGH,
        f"{EXAMPLES} images fitted to a loss of {losses[-1]:.4f} in {len(losses)} steps",
        "the network is too small, its signal dies on the way, or its loss, labels or gradients are wrong: look at the "
        "other lines that fail first",
    )
