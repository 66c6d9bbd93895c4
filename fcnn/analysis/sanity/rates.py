"""The learning-rate range test: training at a rate that grows with every step tells which rates are of use.

Smith 2015, "Cyclical learning rates for training neural networks", section 3.3.
"""

import dataclasses
import math

import numpy as np

from fcnn.analysis.sanity.line import Line, judge, skip
from fcnn.analysis.sanity.trial import make_step, order, start_state, stored
from fcnn.training.optim import make_optimizer
from fcnn.training.setup import TrainSetup, limited

LOWEST, HIGHEST, STEPS = 1e-5, 10.0, 72
LOW = 0.1
"""A loss below this share of a guess's, ln(classes), is low: it need not fall."""
WINDOW = 5
"""Steps over which the loss is averaged, those before and after alike, so that the curve doesn't lag."""


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The loss by learning rate."""

    rates: np.ndarray
    """(steps,)"""
    losses: np.ndarray
    """(steps,) of each step's batch."""
    smoothed: np.ndarray
    """(steps,) the same, averaged over WINDOW neighbors."""
    suggestion: float
    """Where the smoothed loss falls fastest."""
    diverges: float
    """The first rate from which on the loss is clearly above its least; infinite if there is none."""


def range_test(setup: TrainSetup) -> RangeTest:
    """Trains for STEPS steps at rates that grow from LOWEST to HIGHEST by the same factor each."""
    factor = (HIGHEST / LOWEST) ** (1 / (STEPS - 1))
    optimizer = limited(make_optimizer(setup.config.optim, lambda step: LOWEST * factor**step), setup.trainable)
    ramp = dataclasses.replace(setup, optimizer=optimizer)
    step, batches, state = make_step(ramp), order(ramp), start_state(ramp)
    losses: list[float] = []
    for number in range(STEPS):
        state, report = step(state, stored(ramp, batches.at(number)[1]))
        losses.append(float(report.metrics.loss) / float(report.metrics.count))
        if not math.isfinite(losses[-1]) or losses[-1] > 10 * losses[0]:
            break
    return read(LOWEST * factor ** np.arange(len(losses)), np.asarray(losses))


def read(rates: np.ndarray, losses: np.ndarray) -> RangeTest:
    """What a loss by rate says, (steps,) each."""
    padded = np.pad(np.nan_to_num(losses, nan=np.inf), WINDOW // 2, mode="edge")
    curve = np.lib.stride_tricks.sliding_window_view(padded, WINDOW).mean(axis=1)
    lowest = int(curve.argmin())
    # Half of what was won is lost again, or more: beyond that rate, training doesn't hold.
    limit = curve[lowest] + 0.5 * max(float(losses[0]) - curve[lowest], 0.1 * float(losses[0]))
    beyond = np.flatnonzero((curve > limit) & (np.arange(len(curve)) > lowest))
    diverges = float(rates[beyond[0]]) if len(beyond) else (math.inf if len(rates) == STEPS else float(rates[-1]))
    falling = np.diff(curve[: lowest + 1])
    suggestion = float(rates[int(falling.argmin())]) if len(falling) else float(rates[0])
    return RangeTest(rates, losses, curve, suggestion, diverges)


def check_rate(setup: TrainSetup, found: RangeTest) -> Line:
    """The run's peak rate is below where training stops to hold, and not so low that nothing would happen."""
    rate = setup.config.optim.learning_rate
    if found.losses[0] < LOW * math.log(setup.model.num_classes):
        return skip("learning rate", f"the loss starts at {found.losses[0]:.3f} already: no rate makes it fall clearly")
    beyond = "holds up to 10" if found.diverges == math.inf else f"breaks at {found.diverges:.2g}"
    return judge(
        "learning rate",
        found.suggestion / 300 <= rate < min(found.diverges, 30 * HIGHEST),
        f"optim.learning-rate {rate:g}; in the range test the loss falls fastest at {found.suggestion:.2g} and "
        f"training {beyond}; see learning_rate.png",
        f"try --optim.learning-rate {found.suggestion:.1g}",
    )
