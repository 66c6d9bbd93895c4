"""Checks of a run before it is trained: what goes wrong silently, found in a minute or two.

Karpathy 2019, "A recipe for training neural networks", is where most of these checks come from. The test split stays
unread.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from fcnn.analysis.sanity import depth, images, learning, learning_rate, modes
from fcnn.analysis.sanity.result import CheckResult, skip
from fcnn.analysis.sanity.trial import STEPS, batch_of, run_trial
from fcnn.report.files import drawing
from fcnn.training.setup import TrainSetup

__all__ = ["PARTS", "CheckResult"]

Log = Callable[[str], None]


def check_data(setup: TrainSetup, folder: Path, log: Log) -> Iterator[CheckResult]:
    """The images and labels, before any network sees them."""
    for check in (
        images.check_inputs, images.check_classes, images.check_order, images.check_leak, images.check_labels,
        images.check_augmentation,
    ):  # fmt: skip
        yield check(setup)
    with drawing("contact_sheet.png", log):
        images.draw_contact_sheet(setup, folder)


def check_start(setup: TrainSetup, folder: Path, log: Log) -> Iterator[CheckResult]:
    """The first steps of the run itself: the network before, in and after them."""
    trial, training = run_trial(setup, min(STEPS, setup.total_steps)), setup.total_steps > 0
    batch = setup.normalize()(batch_of(setup, 0))
    loss = float(trial.losses[0]) if training else learning.evaluation_loss(setup, trial.start, batch)
    yield learning.check_initial_loss(setup, loss)
    layers = depth.measure_layers(setup, trial, batch["image"])
    yield depth.check_signal(setup, layers)
    yield depth.check_gradient_depth(setup, layers)
    yield depth.check_dead(setup, layers)
    yield learning.check_gradients(setup, trial) if training else skip("gradients", "nothing is trained")
    yield learning.check_first_steps(setup, trial) if training else skip("first steps", "nothing is trained")
    yield from modes.check_modes(setup, trial)
    with drawing("depth.png", log):
        depth.draw_depth(layers, folder)


def check_overfit(setup: TrainSetup, folder: Path, log: Log) -> Iterator[CheckResult]:
    """A few images overfitted, and evaluated."""
    if not setup.total_steps:
        yield from (skip(name, "nothing is trained") for name in ("overfit", "batch norm"))
        return
    state, batch, losses = learning.overfit(setup)
    yield learning.check_overfit(losses)
    yield modes.check_batch_norm(setup, state, batch)


def check_rate(setup: TrainSetup, folder: Path, log: Log) -> Iterator[CheckResult]:
    """The learning rate, and the average over the steps."""
    if not setup.total_steps or setup.overrides.optimizer is not None:
        yield skip("learning rate", "the optimizer is your own" if setup.total_steps else "nothing is trained")
        return
    test = learning_rate.range_test(setup)
    yield learning_rate.check_rate(setup, test)
    if setup.config.train.ema_decay is not None:
        yield learning_rate.check_average(setup, setup.config.train.ema_decay)
    with drawing("learning_rate.png", log):
        learning_rate.draw_range_test(test, setup.config.optim.learning_rate, folder)


PARTS = {"images": check_data, "first steps": check_start, "a few images": check_overfit, "rate": check_rate}
"""The checks in their order: `(setup, folder, log) -> results`, each as soon as it's known; then pictures and their
numbers, into the folder, which must be there."""
