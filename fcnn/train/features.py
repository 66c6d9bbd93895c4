"""Training a head on features: what the frozen rest of a network makes of each image, computed once for all epochs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fcnn.config import AugmentConfig
from fcnn.data import AnySplit, Split
from fcnn.train.setup import Experiment, compile_on_each


def on_features(exp: Experiment, variables: Any) -> Experiment:
    """The experiment with features in the place of its training and validation images, and a model that takes them;
    as it is where that isn't the same: with augmentation, or if more than the head learns.

    Args:
      variables: {"params": ..., "batch_stats": ...}, whose frozen part makes the features.
    """
    if exp.config.transfer.strategy != "head" or exp.config.augment != AugmentConfig():
        return exp
    splits = (exp.dataset.train, exp.dataset.validation)
    train, validation = (compile_features(exp, variables, split)() for split in splits)
    return dataclasses.replace(
        exp,
        dataset=dataclasses.replace(exp.dataset, train=train, validation=validation),
        model=exp.model.clone(start=(str(exp.plan.endpoint), exp.dataset.image_shape)),
    )


def compile_features(exp: Experiment, variables: Any, split: AnySplit) -> Callable[[], Split]:
    """What computes the activations of a split's images at the plan's endpoint, (N, ...) float32 as if they were
    images."""
    name = str(exp.plan.endpoint)
    if not len(split):
        return lambda: Split(np.zeros((0, 1)), split.labels)

    def features(variables: Any, images: jax.Array) -> jax.Array:
        found: Any = exp.model.apply(variables, images, train=False, features=(name,))
        return found[1][name]

    compute = compile_on_each(exp, features, variables, split)
    return lambda: Split(compute(), split.labels)
