"""Calibrating a run at its end, by the images in `held_out.npz`."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fcnn.calibration import (
    LEAST_IMAGES,
    calibrate,
    class_means,
    cross_fitted_report,
    similarities,
    similarity_threshold,
)
from fcnn.data import AnySplit, Split, evenly_spaced
from fcnn.distributed import processes
from fcnn.models import Classifier, endpoints
from fcnn.training.calibration_file import FILE
from fcnn.training.evaluate import BestWeights
from fcnn.training.features import compile_features
from fcnn.training.held_out import HeldOut, read_held_out
from fcnn.training.linear_probe import FOLDS, folds, held_out
from fcnn.training.setup import TrainSetup
from fcnn.utils.files import write_bytes
from fcnn.utils.version import with_version

MOST, PER_CLASS = 500, 5
"""Images whose features are computed, or so many a class where that is more."""


def calibrate_run(setup: TrainSetup, workdir: Path, best: BestWeights, log: Callable[[str], None]) -> None:
    """Calibrates the weights that a run's results are of by the images in `held_out.npz`, and writes FILE; without
    enough of them, logs that."""
    found = _held_out(setup, workdir, best)
    logits, labels = found.logits, found.labels
    count = processes.of_first(len(labels))  # other hosts may not see the file
    if count < LEAST_IMAGES:
        log(f"Probabilities are not calibrated: that needs {LEAST_IMAGES} held-out images, there are {count}.")
        if processes.is_first():
            (workdir / FILE).unlink(missing_ok=True)
        return
    directions = _directions(setup, best, found.nearest)  # every process computes features
    if not processes.is_first():
        return
    calibration = calibrate(logits, labels)
    if directions is not None:
        calibration = calibration.with_means(*directions)
    report = cross_fitted_report(calibration, logits, labels)
    log(
        f"Calibrated on {count:,} held-out images: temperature {calibration.temperature:.2f}, expected calibration "
        f"error {100 * report['error_before']:.1f} % before, {100 * report['error']:.1f} % after (each half by the "
        f"other; about {100 * report['error_floor']:.1f} % if perfectly calibrated)."
    )
    values = {
        "step": best.step,
        "weights": best.weights,
        "split": held_out_split(setup, best),
        "calibration": dataclasses.asdict(calibration),
        "held_out": report,
    }
    write_bytes(workdir / FILE, (json.dumps(with_version(values)) + "\n").encode())


def held_out_split(setup: TrainSetup, best: BestWeights) -> str:
    """Returns what the images in `held_out.npz` are of: "train", by cross-validation, where the weights are a linear
    probe or there is no validation split, else "validation"."""
    is_probe = setup.starts_from_probe and best.step == 0
    return "train" if is_probe or not len(setup.dataset.validation) else "validation"


def _held_out(setup: TrainSetup, workdir: Path, best: BestWeights) -> HeldOut:
    """Returns what is known of images that the weights, or those like them, were not fitted to."""
    classes = len(setup.dataset.classes)
    found = read_held_out(workdir, classes)
    # Without a validation split, it may hold what the linear probe says that the run began with.
    if len(setup.dataset.validation) or best.step == 0 or found.is_of(best.step):
        return found
    return HeldOut(np.zeros((0, classes)), np.zeros(0, int))


def _directions(
    setup: TrainSetup, best: BestWeights, similarity: np.ndarray | None
) -> tuple[np.ndarray, float, str] | None:
    """Returns what tells images of none of the classes (`Calibration.with_means`), of a run on files; None where the
    network has no features, or every image was used to train them.

    Args:
      similarity: (N,), to the nearest class, of images that networks like this one were not trained on, if known.
    """
    data = setup.dataset
    places = endpoints(setup.model, data.image_shape) if isinstance(setup.model, Classifier) else []
    if data.manifest is None or not places:
        return None
    classes = len(data.classes)
    chosen = _few(data.train, classes)
    train = data.train.take(chosen)
    transfer = setup.config.transfer
    if transfer.head_init != "extend" and (best.step == 0 or transfer.strategy in ("head", "pretrained")):
        # Nothing learned these features from the images.
        features = _features(setup, best, train)
        means = class_means(features, train.labels, classes)
        nearest = cross_similarities(features, train.labels, None if data.groups is None else data.groups[chosen])
    elif len(data.validation):
        means = class_means(_features(setup, best, train), train.labels, classes)
        validation = data.validation.take(_few(data.validation, classes))
        nearest = similarities(_features(setup, best, validation), means).max(axis=1)
    elif processes.of_first(similarity is not None):  # other hosts may not see the file
        means = class_means(_features(setup, best, train), train.labels, classes)
        nearest = np.zeros(0) if similarity is None else similarity
    else:
        return None
    threshold = similarity_threshold(nearest)
    return None if threshold is None else (means, threshold, places[-1].name)


def cross_similarities(features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Computes the similarity of images to the nearest class of those in the other folds, without the images of classes
    that these lack: (M,).

    Args:
      features: (N, D).
      labels, groups: (N,) int, as for `linear_probe.folds`.
    """
    fold, nearest = folds(labels, groups), np.zeros(len(labels))
    for k in range(FOLDS):
        others, inside = fold != k, fold == k
        known = class_means(features[others], labels[others], labels.max() + 1)
        nearest[inside] = similarities(features[inside], known).max(axis=1)
    return nearest[held_out(labels, groups)]


def _few(split: AnySplit, classes: int) -> np.ndarray:
    """Returns the indices of a part of a split with every class in proportion, (N,) int."""
    by_class = np.argsort(split.labels, kind="stable")
    return np.sort(by_class[evenly_spaced(len(split), max(MOST, PER_CLASS * classes))])


def _features(setup: TrainSetup, best: BestWeights, split: AnySplit) -> np.ndarray:
    """Returns the features of a split's images, averaged over space: (N, D)."""
    computed: Split = compile_features(setup, best.variables, split)()
    return computed.images.reshape(len(split), -1, computed.images.shape[-1]).mean(axis=1)
