"""Fine-tuning judged by cross-validation, where there are too few images to hold any out: how much better it is than
the linear probe that it starts from, and what it says about each image without having seen it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.calibration import class_means, similarities
from fcnn.config import Config
from fcnn.data import Dataset
from fcnn.data.parallel import Progress, no_progress
from fcnn.distributed import sharding
from fcnn.models import logits_and_features
from fcnn.training.evaluate import compile_on_each
from fcnn.training.features import last_endpoint
from fcnn.training.held_out import TUNED_FOLDS as FOLDS
from fcnn.training.held_out import HeldOut
from fcnn.training.linear_probe import FOLDS as PROBE_FOLDS
from fcnn.training.linear_probe import folds, held_out
from fcnn.training.metrics import wilson
from fcnn.training.setup import TrainSetup, compile_train_step, make_setup
from fcnn.training.start import start_state
from fcnn.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """What fine-tuning gets by cross-validation."""

    predictions: HeldOut
    """Of each training image, by the network that didn't see it."""
    accuracy: float
    """0 to 1."""
    interval: tuple[float, float]
    """The 95 % confidence interval (`metrics.wilson`)."""
    probe_accuracy: float
    """Of the linear probes that the networks started from, of the same images."""

    @property
    def helps(self) -> bool:
        """Whether it is better than the linear probe."""
        return self.accuracy > self.probe_accuracy and bool(np.isfinite(self.predictions.logits).all())

    def facts(self) -> dict[str, Any]:
        """Returns the accuracies, as JSON can write them."""
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "probe_accuracy": self.probe_accuracy,
            "folds": FOLDS,
        }

    def text(self) -> str:
        """Returns the accuracies in a sentence."""
        low, high = self.interval
        return (
            f"Fine-tuning: {FOLDS}-fold cross-validated accuracy {100 * self.accuracy:.1f} % (95 % CI {100 * low:.1f} "
            f"to {100 * high:.1f} %), and {100 * self.probe_accuracy:.1f} % by the linear probes that it started from."
        )


def cross_validate_fine_tuning(config: Config, dataset: Dataset, progress: Progress = no_progress) -> FineTuning:
    """Fine-tunes a network for each fold of the training images, on the other folds.

    Args:
      config: of the run that will train on all of them, from a linear probe.
      dataset: normalized as the weights want it; only its training split is looked at.

    Raises:
      UserError: as for `make_setup` and `start_state`.
    """
    labels, classes = dataset.train.labels, len(dataset.classes)
    fold, whole = folds(labels, dataset.groups, FOLDS), make_setup(config, dataset, sharding.make_mesh())
    logits, before = (np.zeros((len(labels), classes), np.float32) for _ in range(2))
    nearest = np.zeros(len(labels), np.float32)
    for number in range(FOLDS):
        inside = fold == number
        setup = make_setup(_in_proportion(whole, np.mean(~inside)), _part(dataset, ~inside), whole.mesh)
        start = start_state(setup, lambda _: None)
        variables = jax.tree.map(jnp.copy, start.variables)  # a step reuses their memory
        end = _fine_tuned(setup, start, progress, f"cross-validating, fold {number + 1} of {FOLDS}")
        before_fold, after_fold, features = _outputs(setup, variables, end.ema or end.variables, dataset)
        before[inside], logits[inside] = before_fold[inside], after_fold[inside]
        means = class_means(features[~inside], labels[~inside], classes)
        nearest[inside] = similarities(features[inside], means).max(axis=1)
    seen = held_out(labels, dataset.groups, count=FOLDS)
    hits, hits_before = ((one.argmax(axis=1) == labels) for one in (logits, before))
    paths = np.asarray(dataset.paths("train"))[seen]
    return FineTuning(
        predictions=HeldOut(logits[seen], labels[seen], paths, nearest[seen], whole.total_steps),
        accuracy=float(hits.mean()),
        interval=wilson(int(hits.sum()), len(labels)),
        probe_accuracy=float(hits_before.mean()),
    )


def can_be_cross_validated(dataset: Dataset, batch_size: int) -> bool:
    """Returns whether each part of the training images that leaves a fold out has a batch of images, and not only
    near-duplicates of one."""
    train = dataset.train
    groups = np.arange(len(train)) if dataset.groups is None else dataset.groups
    fold = folds(train.labels, groups, FOLDS)
    parts = [groups[fold != number] for number in range(FOLDS)]
    return all(len(part) >= max(batch_size, PROBE_FOLDS) and len(set(part)) > 1 for part in parts)


def _in_proportion(setup: TrainSetup, share: float) -> Config:
    """Returns the config of a setup with as many steps as a share of the images gets."""
    config = setup.config
    train = dataclasses.replace(config.train, steps=max(round(share * setup.total_steps), 1))
    optim = dataclasses.replace(config.optim, warmup_steps=round(share * setup.warmup))
    return dataclasses.replace(config, train=train, optim=optim)


def _part(dataset: Dataset, chosen: np.ndarray) -> Dataset:
    """Returns a data set with some of the training images, (N,) bool."""
    train = dataset.train.take(np.flatnonzero(chosen))
    groups = None if dataset.groups is None else dataset.groups[chosen]
    return dataclasses.replace(dataset, train=train, groups=groups, manifest=None)


def _fine_tuned(setup: TrainSetup, state: TrainState, progress: Progress, title: str) -> TrainState:
    """Returns the state after the last step."""
    pipeline = setup.train_pipeline()
    step = compile_train_step(setup, state, pipeline)
    for item in progress(setup.train_items(pipeline, 0), title, setup.total_steps):
        state, _ = jax.block_until_ready(step(state, item))
    return state


def _outputs(setup: TrainSetup, before: dict, after: dict, dataset: Dataset) -> list[np.ndarray]:
    """Returns what two states of a network make of all training images: the logits of the first, (N, classes), and the
    logits and features of the second, (N, D)."""
    name, classes = last_endpoint(setup), len(dataset.classes)

    def outputs(states: tuple[dict, dict], images: jax.Array) -> jax.Array:
        first, _ = logits_and_features(setup.model, states[0], images, name)
        return jnp.concatenate([first, *logits_and_features(setup.model, states[1], images, name)], axis=1)

    computed = compile_on_each(setup, outputs, (before, after), dataset.train)()
    return np.split(computed, [classes, 2 * classes], axis=1)
