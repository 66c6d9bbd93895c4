"""A linear probe: a head as multinomial logistic regression on the features of a frozen network, its regularization
chosen by cross-validation (Alain and Bengio 2016, arXiv:1610.01644; in this form Kornblith et al. 2019,
arXiv:1805.08974, section 4.1)."""

import dataclasses

import numpy as np

from fcnn.data.parallel import Progress, no_progress
from fcnn.utils.errors import UserError

FOLDS = 5
INVERSE_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""scikit-learn's C, for features of mean 0 and variance 1."""


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A head, and what it would say about the images that it was fitted to if it had not seen them."""

    kernel: np.ndarray
    """(D, classes) float32, for features as they are."""
    bias: np.ndarray
    """(classes,) float32."""
    inverse_strength: float
    """The C that was chosen."""
    logits: np.ndarray
    """(N, classes) float32: each image's by a head that was fitted to the other folds."""
    labels: np.ndarray
    """(N,) int: of the images."""
    is_held_out: np.ndarray
    """(N,) bool: whether the other folds have images of the class, too (`held_out`); elsewhere `logits` say nothing."""
    class_weights: np.ndarray | None = None
    """(classes,), how often an image of a class counted; None for once."""

    @property
    def accuracy(self) -> float:
        """The cross-validated one, of `logits`, 0 to 1; where these say nothing, an image is wrong."""
        return float(np.mean(self.logits.argmax(axis=1) == self.labels))


@dataclasses.dataclass(frozen=True)
class KnownRows:
    """Rows of a head that stay as they are."""

    kernel: np.ndarray
    """(D, classes) float32, of which the columns of other classes don't matter."""
    bias: np.ndarray
    """(classes,) float32."""
    is_known: np.ndarray
    """(classes,) bool."""


def fit_linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    groups: np.ndarray | None = None,
    *,
    known: KnownRows | None = None,
    class_weights: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> LinearProbe:
    """Fits a head to features, with the regularization that has the least cross-entropy by cross-validation.

    Args:
      features: (N, D).
      labels: (N,) int; a class without an image gets logits that no softmax sees.
      groups: (N,) int, one number for images that stay in one fold, duplicates of each other; None for none.
      known: rows that stay as they are, so that the others alone are fitted.
      class_weights: (classes,), how often an image of a class counts; None for once.

    Raises:
      UserError: all images are of one group.
    """
    if groups is not None and len(np.unique(groups)) < 2:
        raise UserError(f"all {len(labels):,} images are copies of one another: nothing can be learned from them")
    features = np.asarray(features, np.float64)
    logits = {
        strength: cross_validate(features, labels, num_classes, strength, groups, known, class_weights)
        for strength in progress(INVERSE_STRENGTHS, "fitting heads", len(INVERSE_STRENGTHS))
    }
    seen = held_out(labels, groups, known)

    def loss(strength: float) -> float:
        return cross_entropy(logits[strength][seen], labels[seen], class_weights)

    best = min(INVERSE_STRENGTHS, key=loss)
    kernel, bias = _fit(features, labels, num_classes, best, known, class_weights)
    kernel, bias = kernel.astype(np.float32), bias.astype(np.float32)
    return LinearProbe(kernel, bias, best, logits[best], labels, seen, class_weights)


def cross_validate(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    strength: float,
    groups: np.ndarray | None = None,
    known: KnownRows | None = None,
    class_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the logits (N, classes) float32 of each image by a head that was fitted to the other folds, with C
    `strength`; the other arguments are those of `fit_linear_probe`."""
    features, fold = np.asarray(features, np.float64), folds(labels, groups)
    logits = np.zeros((len(labels), num_classes), np.float32)
    for held_out in range(FOLDS):
        chosen = fold == held_out
        if chosen.any():
            kernel, bias = _fit(features[~chosen], labels[~chosen], num_classes, strength, known, class_weights)
            logits[chosen] = features[chosen] @ kernel + bias
    return logits


def folds(labels: np.ndarray, groups: np.ndarray | None = None, count: int = FOLDS) -> np.ndarray:
    """Returns the fold of each image, (N,) int, 0 to count - 1: every class in proportion, groups whole.

    How groups are numbered makes no difference.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((first, labels[first]))
    fold_of = np.empty(len(first), int)
    fold_of[order] = np.arange(len(first)) % count
    return fold_of[group]


def held_out(
    labels: np.ndarray, groups: np.ndarray | None = None, known: KnownRows | None = None, count: int = FOLDS
) -> np.ndarray:
    """Returns which images are of a class that other folds have, too, or whose row is known: (N,) bool.

    A head that never saw the class of an image says nothing about it: its logit is UNSEEN.
    """
    pairs = np.unique(np.stack([labels, folds(labels, groups, count)]), axis=1)
    seen = np.bincount(pairs[0]) > 1
    return seen[labels] if known is None else seen[labels] | known.is_known[labels]


def cross_entropy(logits: np.ndarray, labels: np.ndarray, class_weights: np.ndarray | None = None) -> float:
    """Computes the sum of the cross-entropies of logits (N, classes) and labels (N,), in nats, weighted by class."""
    from scipy.special import log_softmax

    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return -float(log_probabilities @ _of_images(class_weights, labels))


def _of_images(class_weights: np.ndarray | None, labels: np.ndarray) -> np.ndarray:
    """Returns the weight of each image, (N,) float64."""
    return np.ones(len(labels)) if class_weights is None else class_weights[labels].astype(np.float64)


UNSEEN = -30.0
"""The logit of a class without a training image: a probability of 1e-13."""


def _fit(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    strength: float,
    known: KnownRows | None = None,
    class_weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel (D, classes) and bias (classes,) of a logistic regression on standardized features, for
    features as they are."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean, std = features.mean(axis=0), features.std(axis=0)
    std = np.where(std > 1e-6 * std.max(initial=1e-30), std, 1.0)
    weights = _of_images(class_weights, labels)
    if known is not None:
        return _fit_others(features, labels, strength * weights, known, (mean, std))
    kernel, bias = np.zeros((features.shape[1], num_classes)), np.full(num_classes, UNSEEN)
    present = np.unique(labels)
    if len(present) == 1:
        bias[present] = 0.0
        return kernel, bias
    with threadpool_limits(1, "blas"):  # threads of such small products wait for each other: 12 times the CPU time
        fitted = LogisticRegression(C=strength, max_iter=1000).fit((features - mean) / std, labels, weights)
    rows, intercepts = fitted.coef_ / std, fitted.intercept_
    if len(present) == 2:  # scikit-learn fits the difference of the two logits
        rows, intercepts = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    kernel[:, present], bias[present] = rows.T, intercepts - rows @ mean
    return kernel, bias


def _fit_others(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    known: KnownRows,
    scale: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same with the rows of `known` fixed: the others minimize the sum of the cross-entropies times
    `weights`, (N,), C of an image, + half the sum of their squares, for features less `scale[0]`, divided by
    `scale[1]`."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax
    from threadpoolctl import threadpool_limits

    mean, std = scale
    others = np.flatnonzero(~known.is_known)
    inputs, logits = (features - mean) / std, features @ known.kernel + known.bias
    target = labels[:, None] == others

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        rows = flat.reshape(-1, len(others))
        logits[:, others] = inputs @ rows[1:] + rows[0]
        log_probabilities = log_softmax(logits, axis=1)
        errors = weights[:, None] * (np.exp(log_probabilities[:, others]) - target)
        entropy = -weights @ log_probabilities[np.arange(len(labels)), labels]
        gradient = np.concatenate([errors.sum(axis=0)[None], inputs.T @ errors + rows[1:]])
        return entropy + 0.5 * (rows[1:] ** 2).sum(), gradient.ravel()

    start = np.zeros((inputs.shape[1] + 1) * len(others))
    with threadpool_limits(1, "blas"):
        rows = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x.reshape(-1, len(others))
    kernel, bias = known.kernel.astype(np.float64), known.bias.astype(np.float64)
    kernel[:, others] = rows[1:] / std[:, None]
    bias[others] = rows[0] - mean @ kernel[:, others]
    return kernel, bias
