"""The first steps of a run: what goes in, the state before and after, and every loss.

They are the run's own: its order of images, its augmentation, its update. One device takes them, whatever there is.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from fcnn import augment
from fcnn.distributed import sharding
from fcnn.training import start
from fcnn.training.setup import TrainSetup
from fcnn.training.state import TrainState
from fcnn.training.step import StepReport
from fcnn.utils.batch import Batch, make_batch

STEPS = 60
"""Of a trial, unless the run itself is shorter."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Some steps of training."""

    start: TrainState
    end: TrainState
    losses: np.ndarray
    """(steps,) mean cross-entropy of each step's batch before its update; the rest after a loss that isn't finite is
    missing."""
    first_norms: dict[str, float]
    """L2 norm of each parameter's gradient in the first step, by its path: "stem_conv/kernel"."""
    largest_norms: dict[str, float]
    """The largest of each over all steps."""


def compile_once(function: Callable) -> Any:
    """`jax.jit` for a program that runs a few times on a few images: on a CPU, unoptimized, which compiles sooner."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options)


def stored(setup: TrainSetup, indices: np.ndarray) -> Batch:
    """Training images as they are stored, uint8, with their labels."""
    train = setup.dataset.train
    return make_batch(train.read(indices), train.labels[indices])


def batch_of(setup: TrainSetup, step: int) -> Batch:
    """What a step of the run is given, before augmentation."""
    return stored(setup, setup.sampler().at(step)[1])


def augmentation(setup: TrainSetup) -> augment.Augment:
    """The run's augmentation, with the crops that the files' reader would take."""
    config, classes = setup.config.augment, setup.dataset.classes
    return setup.overrides.augment or augment.from_config(config, num_classes=len(classes))


def with_fields(model: nn.Module, **fields: Any) -> nn.Module:
    """The model with other values of those of the fields that it has: a user's own may have none of them."""
    names = {field.name for field in dataclasses.fields(model)}
    return model.clone(**{name: value for name, value in fields.items() if name in names})


def start_state(setup: TrainSetup) -> TrainState:
    """Returns the run's state before the first step, with the weights that it starts from, on one device."""
    one = dataclasses.replace(setup, mesh=sharding.make_mesh(jax.devices()[:1]))
    return start.start_state(one, lambda _: None)


def trained(setup: TrainSetup, names: Iterable[str]) -> list[str]:
    """Returns those of some parameters or layers, by path, that the run trains."""
    if not setup.total_steps:
        return []
    return [name for name in names if name.partition("/")[0] not in setup.trainable.frozen]


def make_step(setup: TrainSetup) -> Callable[[TrainState, Batch], tuple[TrainState, StepReport]]:
    """The compiled step from stored images to the next state: augmentation, normalization and the update."""
    return jax.jit(setup.train_step(setup.preprocess()))


def run_trial(setup: TrainSetup, steps: int) -> Trial:
    """Takes the first steps of the run, up to the first loss that isn't a number."""
    step, start = make_step(setup), start_state(setup)
    state, losses = start, []
    first: dict[str, float] = {}
    largest: dict[str, float] = {}
    for number in range(steps):
        state, report = step(state, batch_of(setup, number))
        losses.append(float(report.metrics.loss) / float(report.metrics.count))
        norms = jax.tree.map(float, flatten_dict(report.grad_norms, sep="/"))
        first = first or norms
        largest = {name: max(norm, largest.get(name, 0.0)) for name, norm in norms.items()}
        if not np.isfinite(losses[-1]):
            break
    return Trial(start, state, np.asarray(losses), first, largest)
