"""Training a head on features: what the frozen rest of a network makes of each image, computed once for all epochs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fcnn.config import AugmentConfig
from fcnn.data import AnySplit, Split
from fcnn.training.evaluate import compile_on_each
from fcnn.training.setup import TrainSetup


def on_features(setup: TrainSetup, variables: Any) -> TrainSetup:
    """The setup with features in the place of its training and validation images, and a model that takes them;
    as it is where that isn't the same: with augmentation, or if more than the head learns.

    Args:
      variables: {"params": ..., "batch_stats": ...}, whose frozen part makes the features.
    """
    if setup.config.transfer.strategy != "head" or setup.config.augment != AugmentConfig():
        return setup
    splits = (setup.dataset.train, setup.dataset.validation)
    train, validation = (compile_features(setup, variables, split)() for split in splits)
    return dataclasses.replace(
        setup,
        dataset=dataclasses.replace(setup.dataset, train=train, validation=validation),
        model=setup.classifier.clone(start=(str(setup.trainable.endpoint), setup.dataset.image_shape)),
    )


def compile_features(setup: TrainSetup, variables: Any, split: AnySplit) -> Callable[[], Split]:
    """Compiles the activations of a split's images at the endpoint before the head, (N, ...) float32, as a `Split`."""
    name = str(setup.trainable.endpoint)
    if not len(split):
        return lambda: Split(np.zeros((0, 1)), split.labels)

    def features(variables: Any, images: jax.Array) -> jax.Array:
        outputs: Any = setup.model.apply(variables, images, train=False, features=(name,))
        return outputs[1][name]

    compute = compile_on_each(setup, features, variables, split)
    return lambda: Split(compute(), split.labels)
