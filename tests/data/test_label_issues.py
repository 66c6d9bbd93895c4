"""Confident learning: by hand, and on features of which some labels were changed."""

import numpy as np
import pytest

from fcnn.data.label_issues import FEWEST, label_issues
from fcnn.training.linear_probe import fit_linear_probe


def flipped(seed: int, classes: int = 4, each: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of overlapping classes, their labels with 5 % changed at random, and which these are."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(classes), each)
    features = rng.normal(size=(classes, 16))[true] + 0.8 * rng.normal(size=(len(true), 16))
    changed = rng.choice(len(true), round(0.05 * len(true)), replace=False)
    labels = true.copy()
    labels[changed] = (labels[changed] + rng.integers(1, classes, len(changed))) % classes
    return features, labels, labels != true


@pytest.mark.parametrize("seed", [0, 1])
def test_changed_labels_come_first(seed):
    features, labels, wrong = flipped(seed)
    probe = fit_linear_probe(features, labels, 4)
    indices, suggested = label_issues(labels, probe.logits, confident=False)
    first = indices[: len(labels) // 10]
    assert wrong[first].sum() >= 0.8 * wrong.sum()
    true = np.repeat(np.arange(4), 60)
    assert np.mean((suggested == true[indices])[wrong[indices]]) > 0.8
    sure, _ = label_issues(labels, probe.logits)
    assert set(sure) <= set(indices)
    assert wrong[sure].mean() > wrong[indices].mean()


def test_by_hand():
    """Thresholds are 0.7 and 0.6, the means over each label's images."""
    first = [0.9, 0.9, 0.9, 0.45, 0.35, 0.3, 0.2, 0.1, 0.45, 0.95]
    probabilities = np.stack([first, 1 - np.asarray(first)], axis=1)
    labels = np.repeat([0, 1], 5)
    np.testing.assert_allclose([probabilities[:5, 0].mean(), probabilities[5:, 1].mean()], [0.7, 0.6])
    indices, suggested = label_issues(labels, np.log(probabilities))
    assert (indices.tolist(), suggested.tolist()) == ([9, 4], [0, 1])  # 0.95 >= 0.7; 0.65 >= 0.6, and 0.55 is not
    assert label_issues(labels, np.log(probabilities), confident=False)[0].tolist() == [9, 4, 3]


def test_a_class_of_few_images_is_not_judged():
    features, labels, _ = flipped(0)
    labels = labels.copy()
    few = np.flatnonzero(labels == 3)[: FEWEST - 1]
    labels[labels == 3] = 2
    labels[few] = 3
    indices, suggested = label_issues(labels, fit_linear_probe(features, labels, 4).logits, confident=False)
    assert not np.isin(few, indices).any()
    assert 3 not in suggested


def test_copies_of_an_image_are_one():
    """They are in one fold, so that the classifier of the others has never seen their class."""
    features, labels, _ = flipped(0)
    few = np.flatnonzero(labels == 3)[:20]
    labels = np.where(labels == 3, 2, labels)
    labels[few] = 3
    groups = np.arange(len(labels))
    groups[few] = few[0]
    logits = fit_linear_probe(features, labels, 4, groups).logits
    assert np.isin(few, label_issues(labels, logits)[0]).mean() > 0.8
    assert not np.isin(few, label_issues(labels, logits, groups, confident=False)[0]).any()


def test_a_class_of_few_images_is_not_suggested():
    """Its threshold is as low as its probabilities, which every image reaches."""
    probabilities = np.asarray(
        [[0.95, 0.05, 1e-9]] * 5 + [[0.6, 0.4, 1e-9]] + [[0.05, 0.95, 1e-9]] * 6 + [[0.5, 0.5, 1e-9]]
    )
    labels = np.asarray([0] * 6 + [1] * 6 + [2])
    assert label_issues(labels, np.log(probabilities))[0].tolist() == []


def test_a_probability_of_nothing():
    """The logits of a class that no other fold has are far below."""
    labels = np.asarray([0] * 6 + [1] * 6)
    logits = np.where(np.eye(2)[labels], 5.0, -30.0).astype(np.float32)
    logits[3] = [-1e4, 1e4]
    assert label_issues(labels, logits)[0].tolist() == [3]
