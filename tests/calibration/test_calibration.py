"""Calibration against independent implementations: scikit-learn's, and the definitions written out in float64."""

import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from fcnn.calibration import (
    Calibration,
    calibrate,
    calibration_error,
    calibration_error_floor,
    calibration_report,
    class_means,
    conformal_thresholds,
    cross_fitted_report,
    fit_temperature,
    prediction_sets,
    reliability,
    similarities,
    similarity_threshold,
    softmax,
    threshold_for,
)
from fcnn.calibration.conformal import conformal_threshold, images_needed
from fcnn.config.serialize import build
from fcnn.utils.errors import UserError


def draw(seed, count, classes=4, temperature=1.0, digits=None):
    """Logits, and labels drawn from the softmax of the logits divided by a temperature; rounded, they have ties."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes))
    logits = logits if digits is None else logits.round(digits)
    labels = (rng.random((count, 1)) > softmax(logits / temperature).cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("count", [100, 500, 5000])
def test_what_chance_makes_of_the_calibration_error(count):
    """Labels drawn from the probabilities themselves, many times."""
    errors, floors = [], []
    for seed in range(60):
        logits, labels = draw(seed, count)
        errors.append(calibration_error(softmax(logits), labels))
        floors.append(calibration_error_floor(softmax(logits)))
    assert np.mean(floors) == pytest.approx(np.mean(errors), rel=0.08)
    assert calibration_error_floor(np.eye(3, dtype=np.float32)) == 0


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_with_comes_back(temperature):
    logits, labels = draw(0, 20_000, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@given(st.integers(0, 10_000), st.integers(20, 60), st.integers(2, 5))
def test_no_other_temperature_has_a_lower_cross_entropy(seed, count, classes):
    logits, labels = draw(seed, count, classes, temperature=2.0)
    best = fit_temperature(logits, labels)
    if (logits.argmax(axis=1) == labels).all():
        assert best == 1
        return

    def loss(temperature):
        return log_loss(labels, scipy.special.softmax(logits / temperature, axis=1), labels=range(classes))

    assert all(loss(best) <= loss(other) + 1e-5 for other in (best / 1.1, best * 1.1, 0.1, 1.0, 10.0))


def test_where_all_are_right_the_temperature_stays():
    assert fit_temperature(np.eye(3) * 5, np.arange(3)) == 1
    assert fit_temperature(np.ones((3, 3)), np.arange(3)) != 0  # ties are not right


@given(st.integers(0, 10_000), st.integers(1, 80), st.sampled_from([None, 0]))
def test_the_calibration_error_is_its_definition(seed, count, digits):
    logits, labels = draw(seed, count, digits=digits)
    probabilities = softmax(logits)
    if digits == 0:
        probabilities = (probabilities.astype(float) * 20).round() / 20  # some are on the edges of bins
    expected = 0.0
    for b in range(1, 16):
        inside = [
            i
            for i, p in enumerate(probabilities.max(axis=1).astype(float))
            if (b - 1) / 15 < p <= b / 15 or p == 0 == b - 1
        ]
        if inside:
            confidence = math.fsum(float(probabilities[i].max()) for i in inside) / len(inside)
            accuracy = sum(probabilities[i].argmax() == labels[i] for i in inside) / len(inside)
            expected += len(inside) / count * abs(accuracy - confidence)
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-6)
    assert sum(part.count for part in reliability(probabilities, labels)) == count


def test_labels_drawn_from_the_probabilities_have_no_calibration_error():
    logits, labels = draw(1, 50_000)
    assert calibration_error(softmax(logits), labels) < 0.01
    assert calibration_error(softmax(logits * 3), labels) > 0.1


@given(st.integers(0, 10_000), st.integers(1, 120), st.integers(50, 99), st.sampled_from([None, 1]))
def test_a_threshold_is_the_definitions_quantile(seed, count, percent, digits):
    """The smallest q that at least ceil((n + 1) (1 - alpha)) scores don't exceed, in exact arithmetic."""
    scores = np.random.default_rng(seed).random(count)
    scores = scores if digits is None else scores.round(digits)
    need = -(-(count + 1) * percent // 100)
    if need > count:
        assert count < images_needed(percent / 100)
        with pytest.raises(UserError, match=f"at least {images_needed(percent / 100)} held-out images, not {count}"):
            conformal_threshold(scores, percent / 100)
        return
    assert count >= images_needed(percent / 100)
    expected = next(q for q in sorted(scores) if (scores <= q).sum() >= need)
    assert conformal_threshold(scores, percent / 100) == expected


def test_so_many_images_are_needed():
    assert [images_needed(c) for c in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]


@pytest.mark.parametrize("coverage", [0.6, 0.9, 0.95])
@pytest.mark.parametrize("digits", [None, 0])
def test_sets_keep_their_promise_on_average_over_draws(coverage, digits):
    """Whatever the network: here one that is far too sure. Ties can only add to the coverage."""
    covered = []
    for seed in range(300):
        logits, labels = draw(seed, 140, temperature=4.0, digits=digits)
        probabilities = softmax(logits)
        thresholds = conformal_thresholds(probabilities[:40], labels[:40])
        sets = prediction_sets(probabilities[40:], threshold_for(thresholds, coverage, 40))
        covered.append(sets[np.arange(100), labels[40:]].mean())
        assert sets.any(axis=1).all()
    error = np.std(covered) / len(covered) ** 0.5
    assert np.mean(covered) > coverage - 3 * error
    if digits is None:
        assert np.mean(covered) < coverage + 1 / 41 + 3 * error


def test_a_set_holds_the_likeliest_class_and_all_up_to_the_threshold():
    probabilities = np.array([[0.4, 0.35, 0.25], [0.75, 0.25, 0.0]])
    assert prediction_sets(probabilities, 0.5).tolist() == [[True, False, False], [True, False, False]]
    assert prediction_sets(probabilities, 0.75).tolist() == [[True, True, True], [True, True, False]]


def test_a_coverage_that_is_not_kept_is_refused():
    thresholds = conformal_thresholds(*(array[:50] for array in draw(0, 50)))
    with pytest.raises(UserError, match=r"0\.5 to 0\.99 in whole percents, got 95"):
        threshold_for(thresholds, 95, 50)
    for wrong, text in ((0.955, r"0\.955"), (math.nan, "nan"), (math.inf, "inf")):
        with pytest.raises(UserError, match=f"whole percents, got {text}"):
            threshold_for(thresholds, wrong, 50)
    with pytest.raises(UserError, match=r"--coverage 0\.99 needs at least 99 held-out images; .* calibrated on 50"):
        threshold_for(thresholds, 0.99, 50)
    with pytest.raises(UserError, match="needs a calibrated network"):
        threshold_for((), 0.95, 0)


@given(st.integers(0, 10_000), st.integers(1, 400))
def test_false_alarms_are_as_rare_as_stated(seed, count):
    scores = np.random.default_rng(seed).random(count).astype(np.float32)
    threshold = similarity_threshold(scores)
    if threshold is None:
        assert count < 19
    else:
        below = (scores < threshold).sum()
        assert (below + 1) / (count + 1) <= 0.05 < (below + 2) / (count + 1)


def test_similarities_are_cosines():
    features, labels = np.random.default_rng(0).normal(size=(50, 7)), np.arange(50) % 3
    means = class_means(features, labels, 4)
    unit = features / np.sqrt((features**2).sum(axis=1))[:, None]
    for k in range(3):
        mean = unit[labels == k].mean(axis=0)
        expected = unit @ mean / np.sqrt((mean**2).sum())
        assert similarities(features, means)[:, k] == pytest.approx(expected, abs=1e-5)
    assert (similarities(features, means)[:, 3] == 0).all()  # a class without an image
    assert similarities(np.zeros((1, 7)), means) == pytest.approx(0)
    with pytest.raises(UserError, match="for 7 features, the network has 6"):
        similarities(np.zeros((1, 6)), means)


def test_a_report_is_of_the_images_it_is_for():
    logits, labels = draw(0, 4000, temperature=3.0)
    calibration = calibrate(logits[:2000], labels[:2000])
    report = calibration_report(calibration, logits[2000:], labels[2000:])
    assert report["error_before"] > 0.2
    assert report["error"] < 0.05
    assert report["covered"] == pytest.approx(0.95, abs=0.02)
    assert calibration_report(calibrate(logits[:18], labels[:18]), logits, labels)["coverage"] is None


@pytest.mark.parametrize("seed", range(3))
def test_a_report_on_the_images_of_a_calibration_is_of_each_half_by_the_other(seed):
    """By their own calibration, sets keep their promise by construction."""
    logits, labels = draw(seed, 120, temperature=2.0)
    calibration, order = calibrate(logits, labels), np.argsort(labels, kind="stable")
    halves = order[::2], order[1::2]
    parts = [
        calibration_report(calibrate(logits[other], labels[other]), logits[half], labels[half])
        for half, other in (halves, halves[::-1])
    ]
    report = cross_fitted_report(calibration, logits, labels)
    for name in ("covered", "set_size"):
        assert report[name] == pytest.approx(np.mean([part[name] for part in parts]))
    temperatures = [fit_temperature(logits[other], labels[other]) for other in halves[::-1]]
    probabilities = np.concatenate([softmax(logits[h], t) for h, t in zip(halves, temperatures, strict=True)])
    assert report["error"] == pytest.approx(calibration_error(probabilities, labels[np.concatenate(halves)]))
    assert report["error_floor"] == pytest.approx(calibration_error_floor(probabilities))
    assert report["temperature"] == calibration.temperature
    own = calibration_report(calibration, logits, labels)
    assert own["covered"] == pytest.approx(math.ceil(121 * 0.95) / 120)  # whatever the images
    assert own["set_size"] != report["set_size"]
    assert cross_fitted_report(calibration, logits[:20], labels[:20])["coverage"] is None  # halves of 10


def test_a_calibration_survives_json_and_a_damaged_one_is_refused():
    logits, labels = draw(0, 200)
    means = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    calibration = calibrate(logits, labels).with_means(means, 0.25, "pool")
    again = build(Calibration, json.loads(json.dumps(vars(calibration))), "")
    assert again == calibration
    found = again.means(4)
    assert found is not None
    assert found == pytest.approx(means, rel=1e-3)
    assert Calibration().means(4) is None
    with pytest.raises(ValueError, match="damaged"):
        calibration.means(5)
    wrong: list[dict[str, Any]] = [
        {"temperature": 0.0}, {"temperature": math.nan}, {"thresholds": (2.0,)}, {"thresholds": (0.5,) * 51},
    ]  # fmt: skip
    for fields in wrong:
        with pytest.raises(ValueError, match=r"calibration\."):
            Calibration(**fields)
