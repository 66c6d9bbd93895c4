"""Temperature scaling, and how far probabilities are from the truth (Guo et al. 2017, "On Calibration of Modern Neural
Networks", arXiv:1706.04599)."""

from typing import Any, NamedTuple

import numpy as np

BINS = 15
"""Of equal width, as in the paper."""
RANGE = 0.05, 20.0
"""Of temperatures."""


class Bin(NamedTuple):
    """The images whose largest probability is in one part of 0 to 1."""

    count: int
    confidence: float
    """The mean of their largest probabilities; 0 without an image."""
    accuracy: float
    """The share of them that are right; 0 without an image."""


def softmax(logits: Any, temperature: float = 1.0) -> np.ndarray:
    """Computes probabilities from logits (N, classes), divided by a temperature: float32."""
    scaled = np.asarray(logits, np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature with the least cross-entropy on held-out images (section 4.2), within RANGE.

    Where every image is right, the cross-entropy falls to 0 with the temperature and says nothing: 1 then.

    Args:
      logits: (N, classes).
      labels: (N,) int.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, images = np.asarray(logits, np.float64), np.arange(len(labels))
    others = logits.copy()
    others[images, labels] = -np.inf
    if (logits[images, labels] > others.max(axis=1)).all():
        return 1.0

    def cross_entropy(exponent: float) -> float:
        return -float(log_softmax(logits / np.exp(exponent), axis=1)[images, labels].mean())

    low, high = np.log(RANGE)
    best: Any = minimize_scalar(cross_entropy, bounds=(low, high), method="bounded")
    return float(np.exp(best.x))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Returns the reliability diagram: images by their largest probability, in bins ((b - 1) / bins, b / bins].

    Args:
      probabilities: (N, classes).
      labels: (N,) int.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, weights, minlength=bins) for weights in (confidence, right))
    means = (total / np.maximum(counts, 1) for total in sums)
    return [Bin(int(count), float(mean), float(share)) for count, mean, share in zip(counts, *means, strict=True)]


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Computes the expected calibration error: the mean over images of |accuracy - confidence| of their bin.

    Few images make it larger than it is: of a network that is perfectly calibrated and right in 90 % of images, 100
    images give about 6 %, 500 give 3 %, 2,000 give 1.5 %, 10,000 give 0.7 %.
    """
    parts = reliability(probabilities, labels, bins)
    return sum(part.count * abs(part.accuracy - part.confidence) for part in parts) / max(len(labels), 1)


def calibration_error_floor(probabilities: np.ndarray, bins: int = BINS) -> float:
    """Computes the `calibration_error` that as many images would have on average if each probability (N, classes) were
    right: what chance alone makes, with the count of right answers in a bin taken as normally distributed."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    variances = np.bincount(places, confidence * (1 - confidence), minlength=bins)
    return float(np.sqrt(2 / np.pi * variances).sum() / max(len(confidence), 1))
