"""Sets of classes with a promise: split-conformal prediction (Angelopoulos and Bates 2021, "A Gentle Introduction to
Conformal Prediction", arXiv:2107.07511, section 1) with the score 1 - probability of the label (LAC: Sadinle et al.,
arXiv:1609.00451).

On five kinds of waste, 10 splits, a 95 % set has 1.36 classes on average and covers 90.9 % of the worst class; with APS
these are 2.73 and 92.0 %, with RAPS (0.1, 1) 1.55 and 89.6 %.

The promise: of images that come from where the held-out ones came from, at least a share `coverage` has its class in
its set, on average over images and over draws of the held-out ones. It is none for each class, nor for other images.
A network keeps it approximately, as scores of new images aren't quite those of the held-out ones: the temperature was
fitted to these, the scores of a linear probe are from five heads that were each fitted to four fifths of the images,
and the epoch of a fine-tuned network was chosen by them.
"""

import math
from fractions import Fraction

import numpy as np

from fcnn.utils.errors import UserError

PERCENT = range(50, 100)
"""The coverages, in percent, that a network keeps thresholds of."""


def images_needed(coverage: float) -> int:
    """Returns how many held-out images the promise needs."""
    share = Fraction(coverage).limit_denominator(10_000)
    return -(-share // (1 - share))


def conformal_threshold(scores: np.ndarray, coverage: float) -> float:
    """Returns the score up to which classes are in a set: the ceil((n + 1) coverage)-th smallest of n held-out ones.

    Args:
      scores: (n,), 1 - probability of the label.
      coverage: above 0 and below 1, as a fraction of at most 10,000 parts.

    Raises:
      UserError: there are too few images for the promise.
    """
    share, count = Fraction(coverage).limit_denominator(10_000), len(scores)
    rank = -(-(count + 1) * share // 1)  # exact: 0.07 * 100 is 7.000000000000001
    if rank > count:
        raise UserError(
            f"a coverage of {100 * coverage:g} % needs at least {images_needed(coverage):,} held-out images, not "
            f"{count:,}"
        )
    return float(np.partition(scores, rank - 1)[rank - 1])


def conformal_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Returns a threshold for each coverage of PERCENT that there are enough images for.

    Args:
      probabilities: (N, classes) of held-out images.
      labels: (N,) int.
    """
    scores = 1 - probabilities[np.arange(len(labels)), labels]
    return tuple(conformal_threshold(scores, p / 100) for p in PERCENT if images_needed(p / 100) <= len(labels))


def threshold_for(thresholds: tuple[float, ...], coverage: float, images: int) -> float:
    """Returns the threshold of a coverage, of those that `conformal_thresholds` gave for so many images.

    Raises:
      UserError: there is none.
    """
    percent = round(100 * coverage) if math.isfinite(coverage) else 0
    if percent not in PERCENT or abs(percent - 100 * coverage) > 1e-9:
        raise UserError(
            f"--coverage must be from {PERCENT[0] / 100:g} to {PERCENT[-1] / 100:g} in whole percents, got {coverage:g}"
        )
    if not images:
        raise UserError("--coverage needs a calibrated network: train it with more validation images")
    if percent - PERCENT[0] >= len(thresholds):
        raise UserError(
            f"--coverage {coverage:g} needs at least {images_needed(percent / 100):,} held-out images; the network was "
            f"calibrated on {images:,}"
        )
    return thresholds[percent - PERCENT[0]]


def prediction_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Returns which classes are in each image's set, (N, classes) bool: the likeliest, and all whose score isn't above
    the threshold."""
    inside = 1 - probabilities <= threshold
    inside[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    return inside
