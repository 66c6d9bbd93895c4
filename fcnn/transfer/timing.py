"""How long a run will take on this machine, by a few steps of its own, how many epochs fit into a budget, and when they
are evaluated."""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable

import jax

from fcnn.config import Config, in_steps
from fcnn.training.features import compile_features
from fcnn.training.setup import TrainSetup, compile_train_step
from fcnn.training.state import TrainState

REPEATS = 3
LEAST_EPOCHS, MOST_EPOCHS = 2.0, 10.0
"""Of fine-tuning: with less time it isn't tried; more were no better."""
EVALUATION = {"train.eval_epochs", "train.eval_steps", "train.checkpoint_steps", "train.patience"}
"""Options of when to evaluate. Without them a fine-tuned network is evaluated at the end alone: the schedule makes the
last epoch the best, and the best of many on a hundred images is often another one by chance."""
ENDING = 12.0
"""Seconds for loading the images again, the checkpoints, curves and the page at the end."""
FITTING = (2e-3, 3e-4)
"""Seconds for an image in fitting a linear probe: those that it takes, and those for each class."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """Seconds that things take."""

    image: float
    """Of a forward pass of one image, in a batch of evaluation."""
    step: float
    """Of a training step; 0 where there are none."""
    compiling: tuple[float, float]
    """A forward pass, a training step."""


def measure(setup: TrainSetup, state: TrainState, *, steps: bool) -> Speed:
    """Measures the speed of a setup, whose `state` is used up: medians of a few repeats.

    Args:
      steps: whether training steps are taken.
    """
    began = time.perf_counter()
    part = setup.dataset.train.take(slice(0, setup.config.train.eval_batch_size))
    compute = compile_features(setup, state.variables, part)
    compute()
    compiling = time.perf_counter() - began
    image = _median(compute) / len(part)
    if not steps:
        return Speed(image, 0.0, (compiling, 0.0))
    began = time.perf_counter()
    pipeline = setup.train_pipeline()
    step, states = compile_train_step(setup, state, pipeline), [state]
    items = itertools.cycle(itertools.islice(setup.train_items(pipeline, 0), 1 + REPEATS))
    del state

    def take_one() -> None:
        new, _ = step(states.pop(), next(items))
        states.append(jax.block_until_ready(new))

    take_one()
    compiling_step = time.perf_counter() - began
    return Speed(image, _median(take_one), (compiling, compiling_step))


def _median(function: Callable[[], object]) -> float:
    """Returns the seconds that a call takes, the median of a few."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


@dataclasses.dataclass(frozen=True)
class Budget:
    """The time for a command."""

    began: float
    """By `time.perf_counter`."""
    seconds: float

    def elapsed(self) -> float:
        """Returns the seconds that are over."""
        return time.perf_counter() - self.began


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds that the parts of a run take."""

    images: int
    """Training images."""
    probing: float
    """The features of the training images, and the linear probe."""
    epoch: float
    """The steps of an epoch."""
    steps_per_epoch: int
    rest: float
    """Compiling, evaluations before and after training, the report."""
    folds: int = 1
    """Of a cross-validation before the run, 1 without: N networks of (N - 1) / N of its steps and the run make N times
    its steps."""
    validating: float = 0.0
    """What cross-validation takes beside its steps."""

    @classmethod
    def of(cls, setup: TrainSetup, speed: Speed, *, folds: int = 1) -> "Costs":
        """Returns the costs of a setup, whatever its length.

        Args:
          folds: of a cross-validation before; 1 for none.
        """
        data = setup.dataset
        train, validation, test = (len(split) for split in (data.train, data.validation, data.test))
        forward, step = speed.compiling
        fitting = train * (FITTING[0] + FITTING[1] * len(data.classes))
        compiling = step + forward * (1 + 2 * bool(validation))  # test; validation in training, and for the report
        evaluated = 3 * validation + test  # validation before, after and for the report
        features = train * speed.image if setup.config.transfer.strategy == "head" else 0.0
        if setup.config.data.splits is not None:  # the test images once more, by the network from before and by this
            features += 2 * (forward + test * speed.image)
        return cls(
            images=train,
            probing=forward + train * speed.image + fitting,
            epoch=setup.steps_per_epoch * speed.step,
            steps_per_epoch=setup.steps_per_epoch,
            rest=ENDING + compiling + features + evaluated * speed.image,
            folds=folds,
            validating=(folds > 1) * folds * (step + 2 * forward + 3 * train * speed.image + fitting),
        )

    def epochs(self, budget: Budget) -> float:
        """Returns the epochs that fit into what is left of a budget, in tenths."""
        left = (budget.seconds - budget.elapsed() - self.rest - self.validating) / max(self.folds * self.epoch, 1e-9)
        return min(max(math.floor(10 * left) / 10, LEAST_EPOCHS), MOST_EPOCHS)

    def lacking(self, budget: Budget) -> str:
        """Returns what is missing to fine-tune, before the linear probe is fitted; "" if nothing is."""
        steps = LEAST_EPOCHS * self.folds * self.epoch
        needed = budget.elapsed() + self.probing + self.validating + self.rest + steps
        if needed <= budget.seconds:
            return ""
        minutes = math.ceil(needed / 60 + 0.5)
        return f"{LEAST_EPOCHS:g} epochs take about {duration(needed)} in all; --minutes {minutes} allows it"

    def cross_validation(self, steps: int) -> float:
        """Returns the seconds of the cross-validation of a run of so many steps."""
        return self.validating + (self.folds - 1) * self.epoch * steps / self.steps_per_epoch

    def training(self, steps: int) -> float:
        """Returns the seconds from the first step to the end of a run of so many steps."""
        return self.rest + self.epoch * steps / self.steps_per_epoch


def evaluated_at_the_end(config: Config, steps_per_epoch: int) -> Config:
    """Returns the config without evaluations within the run, but with a checkpoint after each epoch."""
    train = config.train
    steps = in_steps(train.epochs, train.steps, steps_per_epoch)
    every = steps_per_epoch if steps > steps_per_epoch else None
    train = dataclasses.replace(train, eval_epochs=train.epochs, eval_steps=train.steps, checkpoint_steps=every)
    return dataclasses.replace(config, train=train)


def duration(seconds: float) -> str:
    """90.4 -> "90 seconds", 200 -> "3.3 minutes"."""
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.1f} minutes"
