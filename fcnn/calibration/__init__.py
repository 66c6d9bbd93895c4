"""Probabilities that mean something, from what a network says about images that it wasn't trained on: pure functions of
NumPy arrays.

`temperature` makes probabilities agree with how often they are right, `conformal` gives sets of classes with a promise,
`unknown` tells images that are of none of the classes; `Calibration` is what a network keeps of all three.
"""

from fcnn.calibration.conformal import conformal_thresholds, prediction_sets, threshold_for
from fcnn.calibration.record import LEAST_IMAGES, Calibration, calibrate
from fcnn.calibration.report import calibration_report, cross_fitted_report
from fcnn.calibration.temperature import (
    calibration_error,
    calibration_error_floor,
    fit_temperature,
    reliability,
    softmax,
)
from fcnn.calibration.unknown import class_means, similarities, similarity_threshold

__all__ = [
    "LEAST_IMAGES", "Calibration", "calibrate", "calibration_error", "calibration_error_floor", "calibration_report",
    "class_means", "conformal_thresholds", "cross_fitted_report",
    "fit_temperature", "prediction_sets", "reliability", "similarities", "similarity_threshold", "softmax",
    "threshold_for",
]  # fmt: skip
