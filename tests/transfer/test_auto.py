"""`transfer.strategy auto`: the estimate is a fair one, and a run says what it chose and keeps it."""

import dataclasses
import json
import re
from typing import Any

import jax
import numpy as np
import pytest
from harness import MEAN, STD, random_network

import fcnn
from fcnn import cli
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig, TransferConfig
from fcnn.data.dataset import Dataset, Split
from fcnn.report import Console
from fcnn.training import trainer
from fcnn.training.evaluate import evaluate
from fcnn.training.linear_probe import fit_linear_probe
from fcnn.training.overrides import Overrides
from fcnn.training.setup import make_setup
from fcnn.training.workdir import read_choice
from fcnn.transfer import auto
from fcnn.transfer.estimate import SHARES, _draw, estimate
from fcnn.utils.errors import UserError
from fcnn.weights import write_network

LENET = ModelConfig(name="lenet5", norm="batch", width_multiplier=0.5)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lenet.safetensors"
    write_network(path, random_network("lenet5", norm="batch", width_multiplier=0.5))
    return path


def config(path, **fields: Any):
    transfer = TransferConfig(weights=str(path), strategy="auto")
    return Config(
        model=LENET, train=TrainConfig(batch_size=20, eval_batch_size=40, steps=2), transfer=transfer, **fields
    )


def images(count, *, told: bool):
    """Gray images of 32 x 32 pixels in two classes, which their brightness tells apart, or nothing does."""
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int32) % 2
    pixels = rng.integers(0, 100, (count, 32, 32, 1)) + (100 * labels[:, None, None, None] if told else 0)
    return Split(pixels.astype(np.uint8), labels)


def dataset(split):
    given = np.asarray(MEAN, np.float32), np.asarray(STD, np.float32)
    return Dataset("made up", ("dark", "bright"), split, split.take(np.arange(0)), split, normalization=given)


def test_the_estimate_is_fair_and_says_what_more_images_bring(weights_file):
    easy = auto.probe_of(config(weights_file), dataset(images(80, told=True)))[1]
    assert easy.accuracy > 0.95
    assert (easy.count, easy.chance) == (80, 0.5)
    # Images that it was fitted to would be right: there are as many features as images.
    noise = auto.probe_of(config(weights_file), dataset(images(80, told=False)))[1]
    assert noise.accuracy < 0.7
    assert noise.interval[0] < noise.accuracy < noise.interval[1]
    assert [point.images for point in noise.learning_curve] == [20, 40, 80]
    assert noise.learning_curve[-1].accuracy == noise.accuracy
    assert "with 20, " in noise.curve_text()
    assert auto.probe_of(config(weights_file), dataset(images(24, told=True)))[1].learning_curve == ()
    with pytest.raises(UserError, match="needs at least 5 training images, not 4"):
        auto.probe_of(config(weights_file), dataset(images(4, told=True)))


def test_a_learning_curve_rises_where_there_is_something_to_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    features = rng.normal(size=(240, 60)) + 1.5 * np.eye(3, 60)[labels]
    groups = np.arange(240)
    found = estimate(fit_linear_probe(features, labels, 3, groups), features, groups)
    accuracies = [point.accuracy for point in found.learning_curve]
    assert accuracies == sorted(accuracies)
    assert accuracies[-1] - accuracies[0] > 0.03
    assert all(point.std > 0 for point in found.learning_curve[:-1])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", range(40, 49))
def test_a_part_of_any_number_of_images_is_one_of_every_class_in_proportion(share, count):
    labels = np.arange(count) % 2
    part = _draw(labels, share, 0)
    assert len(np.unique(part)) == len(part) == round(share * count)
    assert np.ptp(np.bincount(labels[part])) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("few", [50, 500])
def test_a_run_says_what_it_chose_and_keeps_it(weights_file, tmp_path, capsys, monkeypatch, few):
    monkeypatch.setattr(auto, "FEW", few)
    digits = DataConfig(image_size=32, num_train=100)
    run = tmp_path / "run"
    decision = auto.decide(config(weights_file, data=digits), Console(), run)
    settings, choice = decision.config, decision.choice
    found = trainer.train(settings, run, Console(), choice=choice, probe=decision.probe)
    told = capsys.readouterr().out
    assert choice is not None
    strategy = "full" if few == 50 else "pretrained"
    assert choice["strategy"] == strategy
    assert json.loads(json.dumps(choice)) == read_choice(run)
    assert f"Strategy {strategy}: " in told
    assert re.search(r"cross-validated accuracy [\d.]+ % on 100 training images", told)
    stored = json.loads((run / "config.json").read_text())["transfer"]
    assert (stored["strategy"], stored["head_init"]) == (strategy, "linear_probe")
    # What is kept counts, whatever would be chosen now.
    monkeypatch.setattr(auto, "FEW", 0 if strategy == "pretrained" else 10**6)
    again = auto.decide(config(weights_file, data=digits), Console(), run)
    assert (again.config, again.choice) == (settings, read_choice(run))
    assert evaluate(run, "test", Console())["top1"] == found["top1"]


def test_ones_own_images_are_those_that_the_head_is_fitted_to(weights_file, tmp_path, capsys):
    own = dataset(images(40, told=True))
    test = fcnn.train(config(weights_file), workdir=tmp_path / "run", dataset=own)
    assert "on 40 training images" in capsys.readouterr().out
    assert test["top1"] > 0.95
    np.testing.assert_array_equal(np.load(tmp_path / "run" / "held_out.npz")["labels"], own.train.labels)


def test_an_estimate_from_features_that_may_know_the_images_says_so(weights_file, tmp_path, capsys):
    own, before = dataset(images(40, told=True)), tmp_path / "before"
    full = TransferConfig(weights=str(weights_file), strategy="full")
    fcnn.train(dataclasses.replace(config(weights_file), transfer=full), workdir=before, dataset=own, quiet=True)
    for weights, noted in ((weights_file, False), (before, True)):
        auto.decide(config(weights), Console(), None, Overrides(dataset=own))
        assert ("that is too high if" in capsys.readouterr().out) == noted


def test_only_a_run_decides(weights_file):
    with pytest.raises(UserError, match=r"transfer\.strategy auto is decided when a run begins"):
        make_setup(
            config(weights_file), dataset(images(40, told=True)), jax.sharding.Mesh(np.asarray(jax.devices()[:1]), "b")
        )
    assert cli.main(["train", "--config", "resnet", "--transfer.strategy", "auto"]) == 2
