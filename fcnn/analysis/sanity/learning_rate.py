"""The learning rate: the range test, in which the rate grows with every step; and the average of the weights.

Smith 2015, "Cyclical learning rates for training neural networks", section 3.3.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np

from fcnn.analysis.sanity.result import CheckResult, check, skip
from fcnn.analysis.sanity.trial import batch_of, make_step, start_state
from fcnn.report.files import new_figure, png, write_table
from fcnn.training.optim import apply_layer_rates, make_optimizer
from fcnn.training.setup import TrainSetup
from fcnn.utils.files import write_bytes

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
    rising = make_optimizer(setup.config.optim, lambda step: LOWEST * factor**step)
    optimizer = apply_layer_rates(rising, setup.trainable.lr_scales, setup.trainable.frozen)
    ramp = dataclasses.replace(setup, optimizer=optimizer)
    step, state = make_step(ramp), start_state(ramp)
    losses: list[float] = []
    for number in range(STEPS):
        state, report = step(state, batch_of(ramp, number))
        losses.append(float(report.metrics.loss) / float(report.metrics.count))
        if not math.isfinite(losses[-1]) or losses[-1] > 10 * losses[0]:
            break
    return read_curve(LOWEST * factor ** np.arange(len(losses)), np.asarray(losses))


def read_curve(rates: np.ndarray, losses: np.ndarray) -> RangeTest:
    """Reads a loss by rate, (steps,) each."""
    padded = np.pad(np.nan_to_num(losses, nan=np.inf), WINDOW // 2, mode="edge")
    curve = np.lib.stride_tricks.sliding_window_view(padded, WINDOW).mean(axis=1)
    lowest = int(curve.argmin())
    # Half of the improvement is lost again, or more: beyond that rate, training isn't stable.
    limit = curve[lowest] + 0.5 * max(float(losses[0]) - curve[lowest], 0.1 * float(losses[0]))
    beyond = np.flatnonzero((curve > limit) & (np.arange(len(curve)) > lowest))
    diverges = float(rates[beyond[0]]) if len(beyond) else (math.inf if len(rates) == STEPS else float(rates[-1]))
    falling = np.diff(curve[: lowest + 1])
    suggestion = float(rates[int(falling.argmin())]) if len(falling) else float(rates[0])
    return RangeTest(rates, losses, curve, suggestion, diverges)


def check_rate(setup: TrainSetup, test: RangeTest) -> CheckResult:
    """The run's peak rate is below where training becomes unstable, and not so low that nothing would happen."""
    rate = setup.config.optim.learning_rate
    if test.losses[0] < LOW * math.log(len(setup.dataset.classes)):
        return skip("learning rate", f"the loss starts at {test.losses[0]:.3f} already: no rate makes it fall clearly")
    beyond = "holds up to 10" if test.diverges == math.inf else f"breaks at {test.diverges:.2g}"
    return check(
        "learning rate",
        test.suggestion / 300 <= rate < min(test.diverges, 30 * HIGHEST),
        f"optim.learning-rate {rate:g}; in the range test the loss falls fastest at {test.suggestion:.2g} and "
        f"training {beyond}; see learning_rate.png",
        f"try --optim.learning-rate {test.suggestion:.1g}",
    )


def check_average(setup: TrainSetup, decay: float) -> CheckResult:
    """The horizon of the weights' moving average, 1 / (1 - decay) steps, isn't longer than the run."""
    horizon, steps = 1 / (1 - decay), setup.total_steps
    tenth = 1 - min(float(f"{10 / steps:.1g}"), 1.0)
    return check(
        "weight average",
        horizon <= steps,
        f"train.ema-decay {decay:g} averages over about {horizon:,.0f} steps, the run has {steps:,}",
        f"--train.ema-decay {tenth:g}, the last tenth of the run, or train longer; as it is, the decay is (1 + t) / "
        "(10 + t) in step t",
    )


def draw_range_test(test: RangeTest, rate: float, folder: Path) -> None:
    """Writes `learning_rate.png` and `learning_rate.csv`: the loss by learning rate, with the run's own marked."""
    figure = new_figure(7, 4.5)
    axis = figure.subplots()
    axis.plot(test.rates, test.losses, ".", color="tab:gray", alpha=0.5, label="of a step's batch")
    axis.plot(test.rates, test.smoothed, color="tab:blue", label="smoothed")
    axis.axvline(rate, color="tab:green", label=f"the run's rate, {rate:g}")
    axis.axvline(test.suggestion, color="tab:orange", linestyle="--", label=f"falls fastest, {test.suggestion:.2g}")
    if test.diverges != math.inf:
        axis.axvline(test.diverges, color="tab:red", linestyle=":", label=f"breaks, {test.diverges:.2g}")
    top = 1.5 * float(test.losses[0])
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Learning-rate range test", ylim=(0, top))
    axis.grid(alpha=0.3)
    axis.legend()
    rows = zip(test.rates.tolist(), test.losses.tolist(), test.smoothed.tolist(), strict=True)
    write_table(folder / "learning_rate.csv", ("learning_rate", "loss", "smoothed"), rows)
    write_bytes(folder / "learning_rate.png", png(figure))
