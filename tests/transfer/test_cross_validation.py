"""Cross-validated fine-tuning: no network has seen the image that it speaks about, and what comes of it in a run."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from harness import random_network
from PIL import Image

import fcnn
from fcnn import cli
from fcnn.config import Config, DataConfig, OptimConfig, TrainConfig, TransferConfig
from fcnn.data.dataset import Dataset, Split
from fcnn.data.manifest import Manifest
from fcnn.training.held_out import TUNED_FOLDS, HeldOut, read_held_out
from fcnn.training.linear_probe import folds
from fcnn.training.workdir import read_config
from fcnn.transfer import photos
from fcnn.transfer.cross_validation import FineTuning, can_be_cross_validated, cross_validate_fine_tuning
from fcnn.weights import write_network


@pytest.fixture
def network(tmp_path):
    """A network small enough to be trained in a moment."""
    network = random_network("lenet5", size=16, norm="batch", width_multiplier=0.5)
    write_network(tmp_path / "small.safetensors", network)
    return network


def test_no_network_has_seen_the_image_that_it_speaks_about(network, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(24, dtype=np.int32) % 2
    images = rng.integers(0, 200, (24, 16, 16, 3)).astype(np.uint8) + 40 * labels[:, None, None, None].astype(np.uint8)
    groups = np.arange(24)
    groups[[2, 4]] = 2, 2  # near-duplicates
    config = Config(
        data=DataConfig(image_size=16),
        model=network.info.model,
        transfer=TransferConfig(
            weights=str(tmp_path / "small.safetensors"), head_init="linear_probe", freeze_batch_norm=True
        ),
        optim=OptimConfig(name="adamw", learning_rate=0.01),
        train=TrainConfig(epochs=2, batch_size=8, eval_batch_size=8),
    )

    def logits(images):
        empty = Split(images[:0], labels[:0])
        dataset = Dataset("x", ("a", "b"), Split(images, labels), empty, empty, groups=groups)
        found = cross_validate_fine_tuning(config, dataset.normalized_by([0.5] * 3, [0.25] * 3))
        hits = found.predictions.logits.argmax(axis=1) == labels
        assert found.accuracy == pytest.approx(hits.mean())
        assert found.predictions.nearest is not None
        assert found.predictions.nearest.shape == (24,)
        return np.c_[found.predictions.logits, found.predictions.nearest]

    changed = images.copy()
    changed[2] = 255 - changed[2]
    same = np.isclose(logits(images), logits(changed), rtol=0, atol=1e-6).all(axis=1)
    inside = folds(labels, groups, TUNED_FOLDS) == folds(labels, groups, TUNED_FOLDS)[2]
    assert inside[4]  # with its duplicate
    expected = inside & (np.arange(24) != 2)
    np.testing.assert_array_equal(same, expected)


def test_a_network_that_diverged_does_not_help():
    logits = np.full((4, 2), np.nan, np.float32)
    tuned = FineTuning(HeldOut(logits, np.zeros(4, np.int32)), accuracy=0.9, interval=(0.6, 1.0), probe_accuracy=0.5)
    assert not tuned.helps
    finite = dataclasses.replace(tuned, predictions=HeldOut(np.zeros((4, 2)), np.zeros(4, np.int32)))
    assert finite.helps
    assert not dataclasses.replace(finite, probe_accuracy=0.9).helps


@pytest.mark.parametrize(
    ("groups", "batch_size", "expected"),
    [
        (range(60), 40, True),
        (range(60), 41, False),  # a part without a fold has 40 images
        ([*range(10), *[10] * 50], 15, False),  # without the near-duplicates 10 are left
        ([0] * 30 + [1] * 30, 15, False),  # one of three folds is empty
        ([0] * 20 + [1] * 20 + [2] * 20, 15, True),
    ],
)
def test_what_can_be_cross_validated(groups, batch_size, expected):
    labels = np.arange(60, dtype=np.int32) % 2
    split, empty = (Split(np.zeros((n, 2, 2, 3), np.uint8), labels[:n]) for n in (60, 0))
    dataset = Dataset("x", ("a", "b"), split, empty, empty, groups=np.asarray(groups))
    assert can_be_cross_validated(dataset, batch_size) == expected


def draw(root, pattern):
    """80 noisy images of each of two classes, by (class, pixels, random number) -> (16, 16, 1)."""
    rng, (x, y) = np.random.default_rng(0), np.meshgrid(np.arange(16), np.arange(16))
    for label, kind in enumerate("ab"):
        (root / kind).mkdir(parents=True)
        for i in range(80):
            pixels = 120 + pattern((x, y)[label], label, rng.uniform(0, 2 * np.pi))[..., None]
            pixels = (pixels + rng.normal(0, 60, (16, 16, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{i}.png")


@pytest.mark.slow
def test_few_photographs_are_fine_tuned_where_that_is_better(network, tmp_path, monkeypatch, capsys):
    """Stripes of any phase, in one of two directions: nothing for a linear classifier of random features."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "photos", lambda along, _, phase: 50 * np.sin(2 * np.pi / 5 * along + phase))
    monkeypatch.setattr(photos, "RATE", 0.01)
    small = ["--transfer.weights", "small.safetensors", "--data.image-size", "16", "--minutes", "60"]
    assert cli.main(["train", "photos", *small, "--workdir", "run"]) == 0
    printed = capsys.readouterr().out
    numbers = re.search(r"Fine-tuning: 3-fold cross-validated accuracy ([\d.]+) % .*, and ([\d.]+) % by", printed)
    assert numbers is not None
    accuracy, probe = map(float, numbers.groups())
    assert accuracy > probe
    assert "Strategy full: all layers are fine-tuned from the linear probe, on all images." in printed
    config, choice = read_config(Path("run")), json.loads(Path("run/strategy.json").read_text())
    assert (config.transfer.strategy, config.data.val_fraction) == ("full", 0)
    assert choice["fine_tuning"]["accuracy"] == pytest.approx(accuracy / 100, abs=1e-3)
    held_out = read_held_out(Path("run"), 2)
    assert held_out.nearest is not None
    assert np.mean(held_out.logits.argmax(axis=1) == held_out.labels) == pytest.approx(accuracy / 100, abs=1e-3)
    calibration = fcnn.load("run").info.calibration
    assert calibration.images == len(held_out.labels) == 128
    assert calibration.least_similarity is not None
    assert "Training images, by cross-validation: rows are labels" in Path("run/report.html").read_text()
    # What the folds said isn't of a network that was trained for longer.
    longer = ["--train.epochs", str(config.train.epochs + 1)]
    assert cli.main(["train", "photos", "--workdir", "run", *longer]) == 0
    assert "Probabilities are not calibrated" in capsys.readouterr().out
    # With nothing held out it can't be continued: what follows keeps its test images and starts over.
    Image.new("RGB", (16, 16), (1, 2, 3)).save("photos/a/new.png")
    assert cli.main(["train", "photos", "--from", "run", "--minutes", "60", "--workdir", "next"]) == 0
    assert "training starts over, with the earlier run's splits" in capsys.readouterr().out
    assert read_config(Path("next")).transfer.weights == str(tmp_path / "small.safetensors")
    rows = [Manifest.from_csv(Path(run, "splits.csv").read_bytes(), "").rows for run in ("run", "next")]
    tests = [{row.hash for row in part if row.split == "test"} for part in rows]
    assert tests[0] <= tests[1]
    assert not tests[0] & {row.hash for row in rows[1] if row.split != "test"}


@pytest.mark.slow
def test_few_photographs_keep_the_probe_where_fine_tuning_is_no_better(network, tmp_path, monkeypatch, capsys):
    """One class is brighter at the left, the other at the right."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "photos", lambda _, label, __: np.tile(np.linspace(-40, 40, 16), (16, 1)) * (1, -1)[label])
    monkeypatch.setattr(photos, "RATE", 0.03)
    small = ["--transfer.weights", "small.safetensors", "--data.image-size", "16", "--minutes", "60"]
    assert cli.main(["train", "photos", *small, "--workdir", "run"]) == 0
    printed = capsys.readouterr().out
    assert "Strategy pretrained: the linear probe alone, as fine-tuning was no better in cross-validation." in printed
    assert read_held_out(Path("run"), 2).nearest is None
    assert read_config(Path("run")).transfer.strategy == "pretrained"
