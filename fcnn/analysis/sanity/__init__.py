"""A look at a run before it is trained: what goes wrong silently, found in a minute or two.

Karpathy 2019, "A recipe for training neural networks", is where most of these checks come from. The test split stays
unread.
"""

from collections.abc import Iterator
from pathlib import Path

from fcnn import augment
from fcnn.analysis.sanity import average, depth, images, learning, modes, rates
from fcnn.analysis.sanity.figures import draw_depth, draw_rates, draw_sheet
from fcnn.analysis.sanity.line import Line, skip
from fcnn.analysis.sanity.trial import STEPS, order, run_trial, stored
from fcnn.training.setup import TrainSetup

__all__ = ["PARTS", "Line"]


def check_data(setup: TrainSetup, folder: Path) -> Iterator[Line]:
    """The images and labels, before any network sees them."""
    draw_sheet(setup, folder)
    for look in (
        images.check_inputs, images.check_classes, images.check_order, images.check_leak, images.check_labels,
        images.check_augmentation,
    ):  # fmt: skip
        yield look(setup)


def check_start(setup: TrainSetup, folder: Path) -> Iterator[Line]:
    """The first steps of the run itself: the network before, in and after them."""
    trial, training = run_trial(setup, min(STEPS, setup.total_steps)), setup.total_steps > 0
    batch = augment.normalize(*setup.dataset.mean_std())(stored(setup, order(setup).at(0)[1]))
    loss = float(trial.losses[0]) if training else learning.evaluation_loss(setup, trial.start, batch)
    yield learning.check_initial_loss(setup, loss)
    layers = depth.measure(setup.classifier, trial, batch["image"], train=training)
    draw_depth(layers, folder)
    yield depth.check_signal(setup, layers)
    yield depth.check_gradient_depth(setup, layers)
    yield depth.check_dead(setup, layers)
    yield learning.check_gradients(setup, trial) if training else skip("gradients", "nothing is trained")
    yield learning.check_first_steps(setup, trial) if training else skip("first steps", "nothing is trained")
    yield from modes.check_modes(setup, trial)


def check_overfit(setup: TrainSetup, folder: Path) -> Iterator[Line]:
    """A few images overfitted, and evaluated."""
    if not setup.total_steps:
        yield from (skip(name, "nothing is trained") for name in ("overfit", "batch norm"))
        return
    state, batch, losses = learning.overfit(setup)
    yield learning.check_overfit(losses)
    yield modes.check_batch_norm(setup, state, batch)


def check_rate(setup: TrainSetup, folder: Path) -> Iterator[Line]:
    """The learning rate, and the average over the steps."""
    if not setup.total_steps:
        yield skip("learning rate", "nothing is trained")
        return
    found = rates.range_test(setup)
    draw_rates(found, setup.config.optim.learning_rate, folder)
    yield rates.check_rate(setup, found)
    if (line := average.check_average(setup)) is not None:
        yield line


PARTS = {"images": check_data, "first steps": check_start, "a few images": check_overfit, "rate": check_rate}
"""What is looked at, in order: `(exp, folder) -> lines`, each as soon as it's known. The folder, for the pictures and
their numbers, is there."""
