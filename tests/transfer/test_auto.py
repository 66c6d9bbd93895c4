"""`transfer.strategy auto`: the probe is a fair one, the rule has four quadrants, and a run keeps what it chose."""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest
from harness import MEAN, STD, random_network

from fcnn import cli
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig, TransferConfig
from fcnn.data import load
from fcnn.data.dataset import Dataset, Split
from fcnn.report import Console
from fcnn.training import trainer
from fcnn.training.evaluate import evaluate
from fcnn.training.setup import make_setup
from fcnn.training.workdir import read_choice
from fcnn.transfer import auto
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


def test_the_probe_sees_what_is_there_and_nothing_else(weights_file):
    easy = auto.measure(config(weights_file), dataset(images(80, told=True)))
    assert easy.accuracy > 0.95
    assert easy.similarity > 0.9
    assert (easy.count, easy.chance) == (80, 0.5)
    # Images that it was fitted to would be right: there are as many features as images.
    noise = auto.measure(config(weights_file), dataset(images(80, told=False)))
    assert noise.similarity < 0.4
    with pytest.raises(UserError, match="auto needs at least 10 training images, not 8"):
        auto.measure(config(weights_file), dataset(images(8, told=True)))


@pytest.mark.parametrize(
    ("count", "told", "strategy"),
    [(40, True, "head"), (40, False, "last_block"), (60, True, "full"), (60, False, "full")],
)
def test_the_four_quadrants(weights_file, monkeypatch, count, told, strategy):
    monkeypatch.setattr(auto, "LARGE", 50)
    choice = auto.choose(config(weights_file), dataset(images(count, told=told)))
    assert choice.strategy == strategy
    assert f"{count} training images, which is {'many' if count > 50 else 'few'}" in choice.reason
    assert ("so they are like" in choice.reason) == told


@pytest.mark.slow
def test_a_run_says_what_it_chose_and_keeps_it(weights_file, tmp_path, capsys, monkeypatch):
    digits = DataConfig(image_size=32, num_train=100)
    settings, run = config(weights_file, data=digits), tmp_path / "run"
    settings, choice = auto.decide(settings, Console(), run)
    found = trainer.train(settings, run, Console(), choice=choice)
    told = capsys.readouterr().out
    assert choice == read_choice(run)
    assert choice is not None
    assert f"Strategy {choice['strategy']}: 100 training images, which is few" in told
    assert json.loads((run / "config.json").read_text())["transfer"]["strategy"] == choice["strategy"]
    # What is kept counts, whatever would be chosen now.
    monkeypatch.setattr(auto, "SIMILAR", 0.0 if choice["strategy"] == "last_block" else 1.0)
    given = np.asarray(MEAN, np.float32), np.asarray(STD, np.float32)
    now = dataclasses.replace(load(digits), normalization=given)
    assert auto.choose(settings, now).strategy != choice["strategy"]
    assert auto.decide(auto.with_strategy(settings, "auto"), Console(), run) == (settings, choice)
    assert evaluate(run, "test", Console())["top1"] == found["top1"]
    longer = dataclasses.replace(settings, train=dataclasses.replace(settings.train, steps=4))
    assert trainer.train(longer, run, Console())["step"] == 4
    assert read_choice(run) == choice


def test_only_a_run_decides(weights_file):
    with pytest.raises(UserError, match=r"transfer\.strategy auto is decided when a run begins"):
        make_setup(
            config(weights_file), dataset(images(40, told=True)), jax.sharding.Mesh(np.asarray(jax.devices()[:1]), "b")
        )
    assert cli.main(["train", "--config", "resnet", "--transfer.strategy", "auto"]) == 2
