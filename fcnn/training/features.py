"""Training a head on features: what the frozen rest of a network makes of each image, computed once for all epochs, or
once for a linear probe."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.config import AugmentConfig
from fcnn.data import AnySplit, Split
from fcnn.distributed import sharding
from fcnn.models import endpoints
from fcnn.training.evaluate import compile_on_each
from fcnn.training.linear_probe import FOLDS, KnownRows, LinearProbe, fit_linear_probe
from fcnn.training.setup import TrainSetup
from fcnn.utils.errors import UserError


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
        model=setup.classifier.clone(start=(last_endpoint(setup), setup.dataset.image_shape)),
    )


def last_endpoint(setup: TrainSetup) -> str:
    """Returns the endpoint before the head."""
    return endpoints(setup.classifier, setup.dataset.image_shape)[-1].name


def compile_features(setup: TrainSetup, variables: Any, split: AnySplit) -> Callable[[], Split]:
    """Compiles the activations of a split's images at the last endpoint, (N, ...) float32, as a `Split`."""
    name = last_endpoint(setup)
    if not len(split):
        return lambda: Split(np.zeros((0, 1)), split.labels)

    def features(variables: Any, images: jax.Array) -> jax.Array:
        outputs: Any = setup.model.apply(variables, images, train=False, features=(name,))
        return outputs[1][name]

    compute = compile_on_each(setup, features, variables, split)
    return lambda: Split(compute(), split.labels)


def linear_features(setup: TrainSetup, variables: Any) -> Split:
    """Returns the features (N, D) that the head takes of each training image, for a linear probe.

    Raises:
      UserError: the head isn't a linear function of the last endpoint, or there are fewer images than folds.
    """
    if len(setup.dataset.train) < FOLDS:
        raise UserError(
            f"transfer.head-init linear_probe needs at least {FOLDS} training images, not {len(setup.dataset.train)}"
        )
    features = compile_features(setup, sharding.replicate(variables, setup.mesh), setup.dataset.train)()
    if features.images.ndim != 2:
        raise UserError(
            f"transfer.head-init linear_probe: the head of {setup.config.model.name} isn't linear in averaged features"
            + ("; --model.options.linear-head makes it so" if hasattr(setup.model, "linear_head") else "")
        )
    return features


def fit_probe(setup: TrainSetup, variables: Any, is_known: np.ndarray | None = None) -> LinearProbe:
    """Fits the linear probe of the training images; UserError as for `linear_features`.

    Args:
      is_known: (classes,) bool, the classes whose rows of the head stay as they are in `variables`; None for none.
    """
    features, head, known = linear_features(setup, variables), variables["params"]["head"], None
    if is_known is not None:
        kernel = np.asarray(head["kernel"]).reshape(features.images.shape[1], -1)
        known = KnownRows(kernel, np.asarray(head["bias"]), is_known)
    data = setup.dataset
    return fit_linear_probe(
        features.images,
        features.labels,
        len(data.classes),
        data.groups,
        known=known,
        class_weights=data.class_weights,
    )


def probed_head(variables: Any, probe: LinearProbe) -> tuple[Any, str]:
    """Returns variables whose head is a linear probe, and a sentence on how good it is."""
    message = (
        f"The head is a logistic regression on {len(probe.kernel):,} features of {len(probe.labels):,} images "
        f"(C {probe.inverse_strength:g} by {FOLDS}-fold cross-validation, with which it gets "
        f"{100 * probe.accuracy:.1f} %)."
    )
    return with_head(variables, probe), message


def with_head(variables: Any, probe: LinearProbe) -> Any:
    """Returns variables whose head is a linear probe."""
    head = variables["params"]["head"]
    fitted = {"kernel": jnp.asarray(probe.kernel.reshape(head["kernel"].shape)), "bias": jnp.asarray(probe.bias)}
    return {**variables, "params": {**variables["params"], "head": fitted}}
