"""The linear probe: scikit-learn's logistic regression as a head, and fair about the images that it was fitted to."""

import dataclasses
import re
from typing import Any

import jax
import numpy as np
import pytest
from harness import MEAN, STD, random_network
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fcnn import models
from fcnn.augment import normalize
from fcnn.config import Config, ModelConfig, TrainConfig, TransferConfig
from fcnn.data.dataset import Dataset, Split
from fcnn.distributed import sharding
from fcnn.training import linear_probe
from fcnn.training.calibrate import cross_similarities
from fcnn.training.features import compile_features
from fcnn.training.held_out import read_held_out
from fcnn.training.linear_probe import FOLDS, KnownRows, fit_linear_probe, folds, held_out
from fcnn.training.predictions import cross_validated
from fcnn.training.setup import make_setup
from fcnn.training.start import start_state
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError
from fcnn.weights import write_network

RNG = np.random.default_rng(0)


def clouds(count, classes, seed=0):
    """Features around a center for each class, on scales that differ by 1,000, and one that is constant."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    features = rng.normal(size=(classes, 12))[labels] + rng.normal(size=(count, 12))
    return np.concatenate([features * np.geomspace(0.01, 10, 12) + 5, np.full((count, 1), 3.0)], axis=1), labels


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_scikit_learns_on_standardized_features(classes, monkeypatch):
    monkeypatch.setattr(linear_probe, "INVERSE_STRENGTHS", (0.1,))
    features, labels = clouds(120, classes)
    probe = fit_linear_probe(features, labels, classes)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    others, _ = clouds(50, classes, seed=1)
    expected = reference.fit(features, labels).predict_proba(others)
    np.testing.assert_allclose(softmax(others @ probe.kernel + probe.bias, axis=1), expected, atol=1e-3)
    held_out: Any = cross_val_predict(
        reference, features, labels, cv=PredefinedSplit(folds(labels)), method="predict_proba"
    )
    np.testing.assert_allclose(softmax(probe.logits, axis=1), held_out, atol=1e-3)
    assert np.abs(expected - expected.mean(axis=0)).max() > 0.3  # the classes do differ
    weights = np.geomspace(0.05, 1, classes)
    probe = fit_linear_probe(features, labels, classes, class_weights=weights)
    weighted = reference.fit(features, labels, logisticregression__sample_weight=weights[labels]).predict_proba(others)
    np.testing.assert_allclose(softmax(others @ probe.kernel + probe.bias, axis=1), weighted, atol=1e-3)
    assert np.abs(weighted - expected).max() > 0.3


@pytest.mark.parametrize("is_known", [[True, False, True, False], [True, True, True, False], [False] * 4])
def test_rows_that_are_known_stay_and_the_others_suit_them(is_known, monkeypatch):
    """Of the joint optimum any rows are fixed: those that are fitted to them are the others."""
    monkeypatch.setattr(linear_probe, "INVERSE_STRENGTHS", (0.1,))
    features, labels = clouds(200, 4)
    weights = np.asarray([2.0, 0.3, 1.0, 1.0])
    joint = fit_linear_probe(features, labels, 4, class_weights=weights)
    is_known = np.asarray(is_known)
    garbage = RNG.normal(size=joint.kernel.shape)
    known = KnownRows(np.where(is_known, joint.kernel, garbage), np.where(is_known, joint.bias, 7), is_known)
    probe = fit_linear_probe(features, labels, 4, known=known, class_weights=weights)
    np.testing.assert_array_equal(probe.kernel[:, is_known], joint.kernel[:, is_known])
    np.testing.assert_array_equal(probe.bias[is_known], joint.bias[is_known])
    ours, theirs = (softmax(features @ one.kernel + one.bias, axis=1) for one in (probe, joint))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert np.abs(theirs - theirs.mean(axis=0)).max() > 0.3


def test_the_regularization_suits_the_features():
    """Where labels say nothing, the strongest is best; where they say everything, a weak one."""
    features, labels = clouds(60, 3)
    assert fit_linear_probe(features, np.random.default_rng(1).permutation(labels), 3).inverse_strength <= 0.01
    assert fit_linear_probe(np.eye(3)[labels], labels, 3).inverse_strength == 1.0


def test_folds_hold_every_class_in_proportion_and_copies_together():
    labels = RNG.integers(0, 4, 203)
    fold = folds(labels)
    counts = np.stack([np.bincount(labels[fold == k], minlength=4) for k in range(FOLDS)])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    groups = RNG.integers(0, 80, 203)
    fold = folds(labels, groups)
    assert all(len(set(fold[groups == group])) == 1 for group in groups)
    np.testing.assert_array_equal(folds(labels, RNG.permutation(80)[groups]), fold)


def test_a_class_without_an_image_gets_no_probability():
    features, labels = clouds(40, 3)
    probe = fit_linear_probe(features, np.where(labels == 1, 3, labels), 5)
    assert softmax(features @ probe.kernel + probe.bias, axis=1)[:, [1, 4]].max() < 1e-9


def test_a_class_that_the_other_folds_lack_is_not_judged():
    """The head that predicts its images never saw it: they choose nothing, however much they weigh."""
    features, labels = clouds(90, 3)
    groups = np.arange(90)
    groups[:4] = 0
    labels[:5], labels[5:][labels[5:] == 1] = [1, 1, 1, 1, 3], 2
    weights = np.asarray([1.0, 1e3, 1.0, 1e3])
    probe = fit_linear_probe(features, labels, 4, groups, class_weights=weights)
    np.testing.assert_array_equal(probe.is_held_out, np.arange(90) >= 5)
    losses = {}
    for strength in linear_probe.INVERSE_STRENGTHS:
        logits = linear_probe.cross_validate(features, labels, 4, strength, groups, class_weights=weights)
        losses[strength] = -log_softmax(logits, axis=1)[np.arange(90), labels][5:].mean()
    assert probe.inverse_strength == min(losses, key=lambda strength: losses[strength])
    known = KnownRows(probe.kernel, probe.bias, np.asarray([False, True, False, False]))
    assert held_out(labels, groups, known).sum() == 89
    with pytest.raises(UserError, match="all 90 images are copies of one another"):
        fit_linear_probe(features, labels, 4, np.zeros(90, int))


def test_a_class_that_the_other_folds_lack_sets_no_threshold_of_similarity():
    """Its images are like none of the others, which says nothing about images of none of the classes."""
    labels, groups = np.repeat([0, 1, 2], [20, 20, 4]), np.minimum(np.arange(44), 40)
    features = np.eye(3)[labels] + 0.01 * RNG.normal(size=(44, 3))
    found = cross_similarities(features, labels, groups)
    assert found.shape == (40,)
    assert found.min() > 0.99
    assert cross_similarities(features, labels, None).shape == (44,)


@pytest.mark.slow
@pytest.mark.parametrize("name", [names[0] for names in models.variants() if names[0] != "linear"])
def test_the_last_endpoint_is_what_every_head_takes(name):
    """So that a head that is fitted to it is the model's: all but SqueezeNet's, which has a ReLU after its head."""
    model = models.create(name, num_classes=3)
    shape = model.image_shape
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), np.zeros((1, *shape), "f4"))
    last = models.endpoints(model, shape)[-1].shape
    linear = not name.startswith("squeezenet")
    assert (last == variables["params"]["head"]["kernel"].shape[-2:-1]) == linear


def probe_setup(path, model):
    labels = np.arange(40, dtype=np.int32) % 4
    labels[7] = 4  # the only one
    pixels = RNG.integers(0, 60, (40, 32, 32, 3)) + 50 * labels[:, None, None, None]
    split = Split(pixels.astype(np.uint8), labels)
    normalization = np.asarray(MEAN, np.float32), np.asarray(STD, np.float32)
    dataset = Dataset("made up", tuple("vwxyz"), split, split.take(np.arange(0)), split, normalization=normalization)
    transfer = TransferConfig(weights=str(path), strategy="pretrained", head_init="linear_probe")
    train = TrainConfig(batch_size=20, eval_batch_size=16, steps=2)
    config = Config(model=model, train=train, transfer=transfer)
    return make_setup(config, dataset, sharding.make_mesh())


@pytest.mark.parametrize(("name", "options"), [("resnet20", {}), ("squeezenet1_1", {"linear_head": True})])
def test_the_models_logits_are_the_probes(name, options, tmp_path):
    write_network(tmp_path / "a.safetensors", random_network(name, width_multiplier=0.25))
    model = ModelConfig(name=name, width_multiplier=0.25, options=options)
    setup, lines = probe_setup(tmp_path / "a.safetensors", model), []
    state = start_state(setup, lines.append, workdir=tmp_path)
    assert re.search(r"logistic regression .* \(C .*\)\. 0 parameters are trained\.", lines[0])
    features = compile_features(setup, state.variables, setup.dataset.train)()
    probe = fit_linear_probe(features.images, features.labels, 5)
    images = normalize(*setup.dataset.mean_std())(make_batch(setup.dataset.train.images, features.labels))["image"]
    logits: Any = setup.model.apply(state.variables, images, train=False)
    np.testing.assert_allclose(logits, features.images @ probe.kernel + probe.bias, rtol=1e-3, atol=1e-2)
    assert np.mean(np.argmax(logits, axis=1) == features.labels) > 0.9
    others = np.delete(np.arange(40), 7)
    held_out, predictions = read_held_out(tmp_path, 5), cross_validated(setup, tmp_path, 0)
    np.testing.assert_array_equal(held_out[1], features.labels[others])
    assert predictions is not None
    np.testing.assert_array_equal(predictions.indices, others)
    np.testing.assert_array_equal(predictions.split.images, setup.dataset.train.images[others])
    np.testing.assert_array_equal(predictions.logits, held_out[0])


def test_what_can_not_be_probed_is_said(tmp_path):
    write_network(tmp_path / "a.safetensors", random_network("squeezenet1_1", width_multiplier=0.125))
    setup = probe_setup(tmp_path / "a.safetensors", ModelConfig(name="squeezenet1_1", width_multiplier=0.125))
    with pytest.raises(UserError, match=r"the head of squeezenet1_1 isn't linear .*; --model\.options\.l"):
        start_state(setup, lambda _: None)
    few = dataclasses.replace(setup.dataset, train=setup.dataset.train.take(np.arange(4)))
    linear = probe_setup(
        tmp_path / "a.safetensors",
        ModelConfig(name="squeezenet1_1", width_multiplier=0.125, options={"linear_head": True}),
    )
    with pytest.raises(UserError, match="needs at least 5 training images, not 4"):
        start_state(dataclasses.replace(linear, dataset=few), lambda _: None)
    with pytest.raises(ValueError, match=r"head-init linear_probe needs the features of transfer\.weights"):
        TransferConfig(head_init="linear_probe")
