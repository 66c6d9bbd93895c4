"""How well a network's calibration does on images."""

from typing import Any

import numpy as np

from fcnn.calibration.conformal import prediction_sets, threshold_for
from fcnn.calibration.record import Calibration
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
    raw, probabilities = softmax(logits), calibration.probabilities(logits)
    report: dict[str, Any] = {
        "images": len(labels),
        "temperature": calibration.temperature,
        "error_before": calibration_error(raw, labels),
        "error": calibration_error(probabilities, labels),
        "error_floor": calibration_error_floor(probabilities),
        "reliability": {"before": reliability(raw, labels), "after": reliability(probabilities, labels)},
    }
    means = calibration.means(logits.shape[1])
    if features is not None and means is not None:
        nearest = similarities(features, means).max(axis=1)
        report["false_alarms"] = float((nearest < calibration.least_similarity).mean())
    try:
        limit = threshold_for(calibration.thresholds, COVERAGE, calibration.images)
    except UserError:
        return report | {"coverage": None}
    sets = prediction_sets(probabilities, limit)
    covered = sets[np.arange(len(labels)), labels].mean()
    return report | {"coverage": COVERAGE, "covered": float(covered), "set_size": float(sets.sum(axis=1).mean())}
