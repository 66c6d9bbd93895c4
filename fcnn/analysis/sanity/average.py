"""Whether the moving average of the weights fits the run."""

from fcnn.analysis.sanity.line import Line, judge
from fcnn.training.setup import TrainSetup


def check_average(setup: TrainSetup) -> Line | None:
    """Checks that the average's horizon, 1 / (1 - decay) steps, isn't longer than the run; None if there is none."""
    decay, steps = setup.config.train.ema_decay, setup.total_steps
    if decay is None or steps == 0:
        return None
    horizon = 1 / (1 - decay)
    tenth = 1 - min(float(f"{10 / steps:.1g}"), 1.0)
    return judge(
        "weight average",
        horizon <= steps,
        f"train.ema-decay {decay:g} averages over about {horizon:,.0f} steps, the run has {steps:,}",
        f"--train.ema-decay {tenth:g}, the last tenth of the run, or train longer; as it is, the decay is (1 + t) / "
        "(10 + t) in step t",
    )
