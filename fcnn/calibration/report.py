"""How well a network's calibration does on images."""

from typing import Any

import numpy as np

from fcnn.calibration.conformal import prediction_sets, threshold_for
from fcnn.calibration.record import Calibration
from fcnn.calibration.temperature import calibration_error, softmax
from fcnn.utils.errors import UserError

COVERAGE = 0.95
"""Of the sets whose size is reported."""


def calibration_report(calibration: Calibration, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Returns how well a calibration does on images.

    Args:
      logits: (N, classes).
      labels: (N,) int.

    Returns:
      {"images", "temperature", "error_before" and "error" (expected calibration errors, without the temperature and
      with it), "coverage" (the promise, None where there were too few images for it), "covered" (the share of images
      whose class is in its set), "set_size" (mean)}.
    """
    probabilities = calibration.probabilities(logits)
    report: dict[str, Any] = {
        "images": len(labels),
        "temperature": calibration.temperature,
        "error_before": calibration_error(softmax(logits), labels),
        "error": calibration_error(probabilities, labels),
    }
    try:
        limit = threshold_for(calibration.thresholds, COVERAGE, calibration.images)
    except UserError:
        return report | {"coverage": None}
    sets = prediction_sets(probabilities, limit)
    covered = sets[np.arange(len(labels)), labels].mean()
    return report | {"coverage": COVERAGE, "covered": float(covered), "set_size": float(sets.sum(axis=1).mean())}
