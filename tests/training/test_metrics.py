"""Loss and accuracy against NumPy, and that padding counts nowhere."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.training import metrics


def softmax(logits):
    setup = np.exp(logits - logits.max(axis=1, keepdims=True))
    return setup / setup.sum(axis=1, keepdims=True)


@given(st.integers(0, 1000), st.integers(2, 12), st.sampled_from([0.0, 0.1, 0.5]))
def test_cross_entropy_is_numpys(seed, classes, smoothing):
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.standard_normal((6, classes)), rng.integers(0, classes, 6)
    rows = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    expected = -(rows * np.log(softmax(logits))).sum(axis=1)
    ours = metrics.cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(labels), smoothing)
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)
    given_rows = metrics.cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(rows, jnp.float32))
    np.testing.assert_allclose(given_rows, expected, rtol=2e-5, atol=1e-6)


def test_hits_are_counted_where_the_mask_says():
    logits = jnp.asarray([[5.0, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [1, 1, 1, 1, 1, 1]])
    labels = jnp.asarray([0, 5, 4, 0])
    with jax.numpy_dtype_promotion("strict"):
        found = metrics.compute_metrics(logits, labels, jnp.asarray([True, True, True, True]))
        masked = metrics.compute_metrics(logits, labels, jnp.asarray([False, True, False, True]))
    assert (found.count, found.top1, found.top5) == (4, 2, 3)
    assert (masked.count, masked.top1, masked.top5) == (2, 1, 1)
    losses = metrics.cross_entropy(logits, labels)
    np.testing.assert_allclose(masked.loss, losses[1] + losses[3], rtol=1e-6)


def test_padding_counts_nowhere_whatever_stands_there():
    logits = jnp.asarray([[1.0, 2.0], [jnp.nan, jnp.inf]])
    found = metrics.compute_metrics(logits, jnp.asarray([1, 0]), jnp.asarray([True, False]))
    chex.assert_tree_all_finite(found)
    assert (found.count, found.top1) == (1, 1)


def test_no_number_is_no_hit():
    found = metrics.compute_metrics(jnp.full((3, 4), jnp.nan), jnp.asarray([0, 1, 2]), jnp.ones(3, bool))
    assert (found.top1, found.top5) == (0, 0)


@given(st.integers(0, 1000), st.integers(2, 9))
def test_of_equal_scores_the_first_is_predicted_as_by_numpy(seed, classes):
    rng = np.random.default_rng(seed)
    logits, labels = rng.integers(0, 3, (20, classes)).astype(np.float32), rng.integers(0, classes, 20)
    order = np.argsort(-logits, axis=1, kind="stable")
    found = metrics.compute_class_metrics(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(20, bool))
    assert found.top1 == (order[:, 0] == labels).sum()
    assert found.top5 == (order[:, :5] == labels[:, None]).any(axis=1).sum()
    assert found.class_predicted.tolist() == np.bincount(order[:, 0], minlength=classes).tolist()


@pytest.mark.parametrize("label", [4, -1, 2**31 - 1])
@pytest.mark.parametrize("loss", metrics.LOSSES.values())
def test_a_label_that_is_no_class_makes_the_loss_nan_and_is_no_hit(label, loss):
    logits, labels = jnp.asarray([[1.0, 0, 0, 9], [9, 0, 0, 1]]), jnp.asarray([label, 0])
    found = metrics.compute_metrics(logits, labels, jnp.ones(2, bool))
    assert np.isnan(found.loss)
    assert (found.top1, found.top5) == (1, 1)
    masked = metrics.compute_metrics(logits, labels, jnp.asarray([False, True]))
    assert np.isfinite(masked.loss)
    gradient = jax.grad(lambda logits: jnp.where(labels == 0, loss(logits, labels), 0).sum())(logits)
    assert not gradient[0].any()
    assert np.isfinite(gradient).all()


@given(st.integers(0, 1000), st.sampled_from([2, 7]))
def test_hits_by_class_are_numpys_and_add_up_over_batches_and_padding(seed, classes):
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((24, classes)).astype(np.float32), rng.integers(0, classes, 24)
    mask, hits = rng.random(24) < 0.8, logits.argmax(axis=1) == labels
    with jax.numpy_dtype_promotion("strict"):
        parts = [
            metrics.compute_class_metrics(
                *(jnp.asarray(array[part]) for array in (logits, labels.astype(np.int32), mask))
            )
            for part in (slice(0, 8), slice(8, 24))
        ]
    total = jax.tree.map(jnp.add, *parts)
    assert total.class_count.tolist() == [(mask & (labels == c)).sum() for c in range(classes)]
    assert total.class_top1.tolist() == [(mask & hits & (labels == c)).sum() for c in range(classes)]
    assert (total.count, total.top1) == (mask.sum(), total.class_top1.sum())


# By the formula.
WILSON = [
    (0, 7, 0.0, 0.35433043506668743),
    (1, 1, 0.20654931437723745, 1.0),
    (3, 10, 0.10779126740630102, 0.6032218525388546),
    (357, 360, 0.9757892964950321, 0.9971619475644193),
    (360, 360, 0.9894419431113064, 1.0),
    (9930, 10000, 0.9911659969160673, 0.9944553806904455),
]


@pytest.mark.parametrize(("hits", "count", "low", "high"), WILSON)
def test_the_interval_is_wilsons(hits, count, low, high):
    assert metrics.wilson(hits, count) == pytest.approx((low, high), abs=1e-12)
