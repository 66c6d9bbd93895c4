"""What a trained network answers, image by image: which classes it takes for which, where it is surest and
wrong."""

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from fcnn.config.serialize import flatten
from fcnn.data import AnySplit, evenly_spaced
from fcnn.data.parallel import Progress, no_progress
from fcnn.distributed import sharding
from fcnn.report.page import Mistake, ReportData
from fcnn.training.evaluate import compile_on_each
from fcnn.training.held_out import TUNED_FOLDS, read_held_out
from fcnn.training.linear_probe import FOLDS, held_out
from fcnn.training.notes import model_name
from fcnn.training.setup import TrainSetup
from fcnn.utils.text import printable

MOST = 10_000
"""Images of a split that are asked about, evenly spread."""
SHOWN = 12
"""Mistakes on a run's page."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a network says about images of a split."""

    split: AnySplit
    """These images alone."""
    indices: np.ndarray
    """(N,) int: theirs in the whole split."""
    logits: np.ndarray
    """(N, classes) float32."""

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Of each class, (N, classes) float32."""
        return softmax(self.logits, axis=1)

    @property
    def top1(self) -> np.ndarray:
        """The likeliest class of each image, (N,) int."""
        return self.probabilities.argmax(axis=1)

    def confusion(self) -> np.ndarray:
        """How many images of each class (rows) were taken for each (columns), (classes, classes) int."""
        classes = self.probabilities.shape[1]
        pairs = self.split.labels.astype(np.int64) * classes + self.top1
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def mistakes(self, max_count: int) -> np.ndarray:
        """The indices of the images with a wrong answer, the surest first, (up to `max_count`,) int."""
        wrong = np.flatnonzero(self.top1 != self.split.labels)
        sure = self.probabilities.max(axis=1)[wrong]
        return wrong[np.argsort(-sure, kind="stable")][:max_count]


def predicted_places(split: AnySplit) -> np.ndarray:
    """Which images of a split are asked about: all, or MOST of them, evenly spread, (N,) int."""
    return evenly_spaced(len(split), MOST)


def predict_split(setup: TrainSetup, variables: Any, split: AnySplit, progress: Progress = no_progress) -> Predictions:
    """Returns the predictions for the images of a split that `predicted_places` names; `variables` on the devices."""
    places = predicted_places(split)
    split = split.take(places)

    def logits(variables: Any, images: jax.Array) -> Any:
        return setup.model.apply(variables, images, train=False)

    return Predictions(split, places, compile_on_each(setup, logits, variables, split)(progress))


def cross_validated(setup: TrainSetup, workdir: Path, step: int) -> Predictions | None:
    """Returns what networks like the one of `step` say about its training images, or MOST of them, each by one that was
    fitted to the other folds: linear probes, or fine-tuned ones; None where `held_out.npz` hasn't them."""
    train = setup.dataset.train
    found = read_held_out(workdir, len(setup.dataset.classes))
    logits, labels, is_tuned = found.logits, found.labels, found.is_of(step)
    if not is_tuned and not (setup.starts_from_probe and step == 0):
        return None
    count = TUNED_FOLDS if is_tuned else FOLDS
    indices = np.flatnonzero(held_out(train.labels, setup.dataset.groups, count=count))
    if not len(indices) or not np.array_equal(labels, train.labels[indices]):
        return None
    chosen = evenly_spaced(len(indices), MOST)
    return Predictions(train.take(indices[chosen]), indices[chosen], logits[chosen])


def describe(
    setup: TrainSetup, variables: Any, best_step: int | None, predictions: Predictions | None, split: str
) -> ReportData:
    """What a run's page shows beside its records. The test split stays out of it: whoever looks at its mistakes and
    changes something has used it up.

    Args:
      variables: of the network to report on, on the devices.
      best_step: where it is from, or None if nothing was held out to choose by.
      predictions: for images of a split that the network was not fitted to, if there are any.
      split: "validation", or "train" by cross-validation.
    """
    data, device = setup.dataset, setup.mesh.devices.flat[0].device_kind
    classes = [printable(name) for name in data.classes]
    program = Path(sys.argv[0]).name.replace("__main__.py", "fcnn")
    confusion, mistakes = None, []
    if predictions is not None:
        confusion, wrong = predictions.confusion(), predictions.mistakes(SHOWN)
        files = data.paths(split)
        for i, image in zip(wrong, predictions.split.read(wrong), strict=True):
            label, answer = classes[predictions.split.labels[i]], classes[predictions.top1[i]]
            probability = float(predictions.probabilities[i].max())
            mistakes.append(Mistake(image, label, answer, probability, files[predictions.indices[i]]))
    layer, filters = first_filters(setup, variables["params"])
    return ReportData(
        title=f"{model_name(setup)} on {data.name}",
        command=shlex.join([program, *sys.argv[1:]]),
        config=flatten(setup.config),
        classes=classes,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        devices=f"{setup.mesh.size} x {device}, convolutions by "
        f"{sharding.convolutions(setup.mesh, setup.config.parallel)}",
        best_step=best_step,
        confusion=confusion,
        mistakes=mistakes,
        first_layer=layer,
        filters=filters,
        predicted="Training images, by cross-validation" if split == "train" else "Validation images",
    )


def first_filters(setup: TrainSetup, params: Any) -> tuple[str, np.ndarray]:
    """What the first layer looks for.

    Returns:
      Its name and its kernel as images, (filters, height, width, channels) float32: a convolution's filters, or a dense
      layer's templates, as large as the images.
    """
    layers: list[tuple[str, ...]] = []

    def note(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.Conv | nn.Dense):
            layers.append(context.module.path)
        return call(*args, **kwargs)

    images = jnp.zeros((1, *setup.dataset.image_shape), jnp.float32)
    with nn.intercept_methods(note):
        jax.eval_shape(lambda x: setup.model.init(jax.random.key(0), x, train=False), images)
    layer = params
    for name in layers[0]:
        layer = layer[name]
    kernel = np.asarray(jax.device_get(layer["kernel"]), np.float32)
    if kernel.ndim == 2:
        kernel = kernel.reshape(*setup.dataset.image_shape, -1)
    return "/".join(layers[0]), np.moveaxis(kernel, -1, 0)
