"""How good a network will be, from its training images alone: a cross-validated accuracy with its interval, and what
more images would bring."""

import dataclasses
from typing import NamedTuple

import numpy as np

from fcnn.training.linear_probe import FOLDS, LinearProbe, cross_validate
from fcnn.training.metrics import wilson

SHARES = (0.25, 0.5)
"""Of the training images, beside all of them."""
DRAWS = 3
MOST = 2000
"""Training images that subsamples are drawn of: what more than these would bring is clear from the curve before."""


class Point(NamedTuple):
    """A point of a learning curve."""

    images: int
    accuracy: float
    """Cross-validated, 0 to 1; the mean over the draws."""
    std: float
    """Over the draws; 0 with a single one."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The cross-validated accuracy of a linear probe."""

    accuracy: float
    """0 to 1."""
    interval: tuple[float, float]
    """The 95 % confidence interval (`metrics.wilson`)."""
    count: int
    """Training images."""
    chance: float
    """The share of the most frequent class."""
    inverse_strength: float
    """scikit-learn's C."""
    learning_curve: tuple[Point, ...] = ()
    """By more and more images, the last point with all."""

    def text(self) -> str:
        """Returns the accuracy in a sentence."""
        low, high = self.interval
        return (
            f"Linear probe: cross-validated accuracy {100 * self.accuracy:.1f} % on {self.count:,} training images "
            f"(95 % CI {100 * low:.1f} to {100 * high:.1f} %, chance {100 * self.chance:.1f} %)."
        )

    def curve_text(self) -> str:
        """Returns the learning curve in a sentence."""
        points = [f"{100 * point.accuracy:.1f} % with {point.images:,}" for point in self.learning_curve]
        gain = self.learning_curve[-1].accuracy - self.learning_curve[-2].accuracy
        ahead = f"the last doubling brought {100 * gain:.1f} points"
        return f"By number of images: {', '.join(points)}; {ahead}."


def estimate(probe: LinearProbe, features: np.ndarray, groups: np.ndarray | None) -> Estimate:
    """Returns the estimate from a linear probe and the features (N, D) that it was fitted to."""
    labels, hits = probe.labels, int((probe.logits.argmax(axis=1) == probe.labels).sum())
    return Estimate(
        accuracy=probe.accuracy,
        interval=wilson(hits, len(labels)),
        count=len(labels),
        chance=float(np.bincount(labels).max() / len(labels)),
        inverse_strength=probe.inverse_strength,
        learning_curve=learning_curve(probe, features, groups),
    )


def learning_curve(probe: LinearProbe, features: np.ndarray, groups: np.ndarray | None) -> tuple[Point, ...]:
    """Returns the cross-validated accuracy with a quarter and half of the images, each the mean of three draws, every
    class in proportion, and with all; with the C of the probe. () where a quarter is too few for its folds."""
    labels, classes = probe.labels, probe.logits.shape[1]
    if len(labels) > MOST or min(SHARES) * np.bincount(labels)[np.unique(labels)].min() < FOLDS:
        return ()
    points = []
    for share in SHARES:
        parts = [_draw(labels, share, draw) for draw in range(DRAWS)]
        accuracies = [
            _accuracy(features[part], labels[part], classes, probe, None if groups is None else groups[part])
            for part in parts
        ]
        points.append(Point(len(parts[0]), float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))))
    return (*points, Point(len(labels), probe.accuracy, 0.0))


def _draw(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Returns the indices of a share of the images, every class in proportion."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    places = (np.arange(round(share * len(labels))) + 0.5) / share
    return np.sort(order[np.minimum(places.astype(int), len(labels) - 1)])  # a count that was rounded up ends beyond


def _accuracy(
    features: np.ndarray, labels: np.ndarray, classes: int, probe: LinearProbe, groups: np.ndarray | None
) -> float:
    logits = cross_validate(
        features, labels, classes, probe.inverse_strength, groups, class_weights=probe.class_weights
    )
    return float(np.mean(logits.argmax(axis=1) == labels))
