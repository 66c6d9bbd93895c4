"""How well a network's calibration does on images."""

from typing import Any

import numpy as np

from fcnn.calibration.conformal import prediction_sets, threshold_for
from fcnn.calibration.record import Calibration, calibrate
from fcnn.calibration.temperature import calibration_error, calibration_error_floor, reliability, softmax
from fcnn.calibration.unknown import similarities
from fcnn.utils.errors import UserError

COVERAGE = 0.95
"""Of the sets whose size is reported."""


def calibration_report(
    calibration: Calibration, logits: np.ndarray, labels: np.ndarray, features: np.ndarray | None = None
) -> dict[str, Any]:
    """Returns how well a calibration does on images.

    Args:
      logits: (N, classes).
      labels: (N,) int.
      features: (N, D), where the calibration knows images of none of the classes.

    Returns:
      {"images", "temperature", "error_before" and "error" (expected calibration errors, without the temperature and
      with it), "error_floor" (`calibration_error_floor`), "coverage" (the promise, None where there were too few images
      for it), "covered" (the share of images whose class is in its set), "set_size" (mean), "reliability" ({"before",
      "after"}: (images, mean probability, share that is right) of each bin), and with features "false_alarms" (the
      share of these images, which are of the classes, that are taken for none of them)}.
    """
    probabilities, sets = calibration.probabilities(logits), _sets(calibration, logits)
    report = _report(softmax(logits), probabilities, sets, labels) | {"temperature": calibration.temperature}
    means = calibration.means(logits.shape[1])
    if features is not None and means is not None:
        nearest = similarities(features, means).max(axis=1)
        report["false_alarms"] = float((nearest < calibration.least_similarity).mean())
    return report


def cross_fitted_report(calibration: Calibration, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Returns `calibration_report` for the images that a calibration was fitted to, each half of them by a calibration
    that was fitted to the other half: by their own, the sets would keep their promise by construction.

    Args:
      calibration: whose temperature is reported.
      logits: (N, classes).
      labels: (N,) int.
    """
    half = np.empty(len(labels), int)
    half[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % 2
    probabilities, sets = np.empty(logits.shape, np.float32), np.empty(logits.shape, bool)
    known = []
    for inside in (half == 0, half == 1):
        other = calibrate(logits[~inside], labels[~inside])
        part = _sets(other, logits[inside])
        probabilities[inside], sets[inside] = other.probabilities(logits[inside]), False if part is None else part
        known.append(part is not None)
    report = _report(softmax(logits), probabilities, sets if all(known) else None, labels)
    return report | {"temperature": calibration.temperature}


def _sets(calibration: Calibration, logits: np.ndarray) -> np.ndarray | None:
    """Returns which classes are in each image's set with COVERAGE, (N, classes) bool; None if there is no threshold."""
    try:
        limit = threshold_for(calibration.thresholds, COVERAGE, calibration.images)
    except UserError:
        return None
    return prediction_sets(calibration.probabilities(logits), limit)


def _report(raw: np.ndarray, probabilities: np.ndarray, sets: np.ndarray | None, labels: np.ndarray) -> dict[str, Any]:
    """Returns what `calibration_report` has of probabilities (N, classes), before calibration and after it."""
    report = {
        "images": len(labels),
        "error_before": calibration_error(raw, labels),
        "error": calibration_error(probabilities, labels),
        "error_floor": calibration_error_floor(probabilities),
        "reliability": {"before": reliability(raw, labels), "after": reliability(probabilities, labels)},
    }
    if sets is None:
        return report | {"coverage": None}
    covered = sets[np.arange(len(labels)), labels].mean()
    return report | {"coverage": COVERAGE, "covered": float(covered), "set_size": float(sets.sum(axis=1).mean())}
