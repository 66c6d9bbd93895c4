"""Training a head on features: what the frozen rest of a network makes of each image, computed once for all epochs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fcnn import parallel
from fcnn.config import AugmentConfig
from fcnn.data import AnySplit, Split
from fcnn.experiment import Experiment, eval_batch_size
from fcnn.feed import make_feed


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
        model=exp.model.clone(given=exp.dataset.image_shape),
    )


def compile_features(exp: Experiment, variables: Any, split: AnySplit) -> Callable[[], Split]:
    """What computes the activations of a split's images at the plan's endpoint, (N, ...) float32 as if they were
    images."""
    name, normalize = str(exp.plan.endpoint), exp.normalize()
    if not len(split):
        return lambda: Split(np.zeros((0, 1)), split.labels)
    feed, size = make_feed(split, exp.mesh), eval_batch_size(exp, split)

    def step(variables: Any, *arrays: jax.Array) -> jax.Array:
        images = normalize(feed.batch(*arrays))["image"]
        found: Any = exp.model.apply(variables, images, train=False, features=(name,))
        return found[1][name]

    mask = parallel.shard(np.ones(size, bool), exp.mesh)
    compiled = parallel.compile_step(step, variables, *feed.like(size), mask, donate=False)

    def compute() -> Split:
        batches = feed.once(size)()
        parts = [np.asarray(compiled(variables, *feed.place(item), mask))[np.asarray(mask)] for item, mask in batches]
        return Split(np.concatenate(parts), split.labels)

    return compute
