"""`fcnn train PHOTOS`: one argument, from a folder to a model that answers; and what may be said beside it."""

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from harness import random_network
from PIL import Image
from safetensors.numpy import save_file

from fcnn import cli, zoo
from fcnn.cli.photos import folder_of
from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig, TransferConfig
from fcnn.config.serialize import from_json
from fcnn.data import load
from fcnn.data.manifest import Manifest
from fcnn.data.parallel import no_progress
from fcnn.report import Console
from fcnn.training import features
from fcnn.training.run_data import load_for_all
from fcnn.transfer import auto, photos, timing
from fcnn.weights import to_torch, write_network


@pytest.fixture
def folder(tmp_path):
    """Twelve photographs of each of two kinds."""
    rng = np.random.default_rng(0)
    for kind, base in (("dark", 0), ("bright", 120)):
        (tmp_path / "my photos" / kind).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(base, base + 100, (12, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my photos" / kind / f"{i}.png")
    return tmp_path / "my photos"


@pytest.fixture
def weights(tmp_path):
    """A network small enough to be trained in a moment."""
    path = tmp_path / "small.safetensors"
    write_network(path, random_network("lenet5", size=16, norm="batch", width_multiplier=0.5))
    return str(path)


def test_a_folder_becomes_a_model_that_answers(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "zoo.safetensors"
    write_network(path, random_network("lenet5", size=16, norm="batch", width_multiplier=0.5))
    monkeypatch.setattr(photos, "PREFERRED", (str(path),))
    monkeypatch.setattr(photos, "_here", lambda _: str(path))
    with monkeypatch.context() as patch:
        patch.setattr(features, "fit_linear_probe", None)  # the run takes the probe of the first look
        assert cli.main(["train", "my photos", "--transfer.strategy", "auto", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    run = tmp_path / "runs" / "my photos-001"
    for words in (
        "Weights ",
        "Images of 32 x 32 pixels: the network was trained on 16 x 16.",
        "Strategy pretrained: the linear probe alone, as 19 images are too few to fine-tune and compare.",
        "Nothing is left to train: about ",
        "the linear probe\n",
        " were expected.\n",
    ):
        assert words in told, words
    report, held_out = (run / "report.html").read_text(), np.load(run / "held_out.npz")
    assert "Training images, by cross-validation: rows are labels" in report
    assert "Only the last layer was fitted, as there are few images; more of them may help" in report
    wrong = int((held_out["logits"].argmax(axis=1) != held_out["labels"]).sum())
    assert report.count("predicted as ") == 2 * min(wrong, 12)  # below a picture and in its description
    config = from_json((run / "config.json").read_text(), "")
    assert (config.data.name, config.transfer.strategy, config.transfer.head_init, config.seed) == (
        f"folder:{tmp_path / 'my photos'}",
        "pretrained",
        "linear_probe",
        3,
    )
    assert config.data.val_fraction == 0  # the images do more good in the probe
    assert json.loads((run / "strategy.json").read_text())["estimate"]["count"] == 19
    assert held_out["paths"].tolist() == [
        row.path for row in Manifest.from_csv((run / "splits.csv").read_bytes(), "").rows if row.split == "train"
    ]
    # The options that it prints make the same config of the defaults.
    (tmp_path / "empty.py").write_text("from fcnn.config import Config\nCONFIG = Config()\n")
    (options,) = re.findall(r"\n  (--data.*)\n", told)
    again = ["--config", "empty.py", *shlex.split(options), "--workdir", str(run)]
    assert cli.main(["train", *again]) == 0
    assert f"The run in {run} is finished." in capsys.readouterr().out
    # And the same command goes on with the run, without choosing anew.
    assert cli.main(["train", "my photos", "--workdir", str(run)]) == 0
    assert "Looking at" not in capsys.readouterr().out
    (command,) = re.findall(r"\n  fcnn (predict .*) IMAGE\.\.\.\n", told)
    assert cli.main([*shlex.split(command), "my photos/bright/3.png", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["predictions"][0]["top"]
    assert {one["class"] for one in answer} == {"bright", "dark"}


def test_what_is_asked_for_is_kept(folder, weights):
    given = Config(
        data=DataConfig(image_size=20, val_fraction=0.25), transfer=TransferConfig(weights=weights, strategy="full")
    )
    named, said = {"data.image_size", "data.val_fraction", "transfer.weights", "transfer.strategy"}, []
    found = photos.configure(folder, given, named, log=said.append)
    assert (found.config.data.image_size, found.config.data.val_fraction) == (20, 0.25)
    assert (found.config.transfer.strategy, found.config.transfer.head_init) == ("full", "linear_probe")
    assert found.config.transfer.freeze_batch_norm
    assert found.config.augment.flip
    assert [line.endswith("as you asked.") for line in said if line.startswith(("Weights", "Strategy"))] == [True] * 2
    assert timing.LEAST_EPOCHS <= found.config.train.epochs <= timing.MOST_EPOCHS
    changed = dataclasses.replace(given, train=TrainConfig(epochs=1, batch_size=2), seed=7, augment=AugmentConfig())
    changed = dataclasses.replace(changed, optim=OptimConfig(learning_rate=0.5))
    more = {"train.epochs", "seed", "augment.flip", "optim.learning_rate"}
    shorter = photos.configure(folder, changed, named | more).config
    assert (shorter.train.epochs, shorter.train.batch_size) == (1, found.config.train.batch_size)
    assert (shorter.seed, shorter.augment.flip, shorter.optim.learning_rate) == (7, False, 0.5)
    assert (shorter.augment.resized_crop, shorter.optim.name) == (photos.CROP, "adamw")


def test_a_default_that_is_named_is_kept(folder, weights):
    """What somebody chose is known by its option, not by a value that isn't the default's."""
    given = Config(transfer=TransferConfig(weights=weights, strategy="head"))
    free = photos.configure(folder, given, {"transfer.weights", "transfer.strategy"}).config
    assert (free.train.epochs, free.train.batch_size) == (photos.HEAD_EPOCHS, 4)
    given = dataclasses.replace(given, train=TrainConfig(batch_size=8))
    named = {"transfer.weights", "transfer.strategy", "train.epochs", "train.batch_size"}
    kept = photos.configure(folder, given, named).config
    assert (kept.train.epochs, kept.train.batch_size) == (TrainConfig().epochs, 8)


def test_the_probe_is_fitted_to_images_as_the_run_normalizes_them(folder, weights):
    data = DataConfig(mean=(0.5,) * 3, std=(0.1,) * 3)
    given = Config(data=data, transfer=TransferConfig(weights=weights, strategy="auto"))
    found = photos.configure(folder, given, {"transfer.weights", "data.mean", "data.std"})
    probe, _ = auto.probe_of(found.config, load_for_all(found.config, None, Console()))
    assert found.probe is not None
    np.testing.assert_allclose(found.probe.logits, probe.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("minutes", "strategy"), [(1e-4, "pretrained"), (60, "full")])
def test_the_time_decides_whether_it_is_fine_tuned(folder, weights, monkeypatch, minutes, strategy):
    monkeypatch.setattr(auto, "FEW", 10)
    given, said = Config(transfer=TransferConfig(weights=weights, strategy="auto")), []
    found = photos.configure(folder, given, {"transfer.weights"}, minutes=minutes, log=said.append)
    assert found.config.transfer.strategy == strategy
    assert found.probe is not None
    assert found.choice is not None
    assert found.choice["strategy"] == strategy
    lines = "\n".join(said)
    assert ("more than the" in lines) == (strategy == "pretrained")  # not even the probe fits the time
    if strategy == "full":
        assert found.config.train.epochs == timing.MOST_EPOCHS
        assert (found.config.train.eval_epochs, found.config.train.checkpoint_steps) == (timing.MOST_EPOCHS, 3)
        assert (found.config.data.val_fraction, len(found.probe.labels)) == (photos.MOST_HELD_OUT, 14)
    else:
        assert re.search(r"no time to fine-tune: 2 epochs take about .* in all; --minutes \d+ allows it\.", lines)
        assert (found.config.data.val_fraction, len(found.probe.labels)) == (0, 19)
        assert (found.config.augment, found.config.optim) == (AugmentConfig(), OptimConfig())  # of what isn't trained


def test_epochs_are_those_that_the_budget_has_time_for(monkeypatch):
    monkeypatch.setattr(timing.time, "perf_counter", lambda: 100.0)
    costs = timing.Costs(images=1000, probing=20.0, epoch=30.0, steps_per_epoch=10, rest=50.0)
    assert costs.epochs(timing.Budget(0.0, 300.0)) == 5.0
    assert costs.training(50) == 200.0  # so that 100 + 200 is the budget
    assert costs.epochs(timing.Budget(0.0, 1e6)) == timing.MOST_EPOCHS
    assert costs.epochs(timing.Budget(0.0, 1.0)) == timing.LEAST_EPOCHS
    # Three folds on two thirds of the images each, and the run: three times its steps.
    folds = dataclasses.replace(costs, folds=3, validating=70.0)
    assert folds.epochs(timing.Budget(0.0, 490.0)) == 3.0
    assert folds.cross_validation(30) + folds.training(30) == 390.0
    assert folds.lacking(timing.Budget(0.0, 420.0)) == ""
    assert folds.lacking(timing.Budget(0.0, 419.0)).startswith("2 epochs take about 7.0 minutes in all; --minutes 8 ")
    assert costs.lacking(timing.Budget(0.0, 230.0)) == ""
    assert costs.lacking(timing.Budget(0.0, 229.0)).startswith("2 epochs take about 3.8 minutes in all; --minutes 5 ")


def test_validation_images_of_its_own_stay(folder, weights, tmp_path):
    for split in ("train", "val", "test"):
        shutil.copytree(folder, tmp_path / "own" / split)
    given = Config(transfer=TransferConfig(weights=weights, strategy="auto"))
    found = photos.configure(tmp_path / "own", given, {"transfer.weights"}).config
    assert len(load(found.data).validation) == 24


@pytest.mark.slow
def test_seeds_go_on_with_the_config_of_those_that_began(folder, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["train", "my photos", "--transfer.weights", weights, "--workdir", "runs"]
    assert cli.main([*command, "--seeds", "0"]) == 0
    assert "Looking at" in capsys.readouterr().out
    assert cli.main([*command, "--seeds", "0,1"]) == 0
    assert "Looking at" not in capsys.readouterr().out
    configs = [json.loads((tmp_path / f"runs/seed-{seed}/config.json").read_text()) for seed in (0, 1)]
    assert configs[0] | {"seed": 1} == configs[1]


@pytest.mark.parametrize(("size", "expected"), [((500, 300), 224), ((200, 210), 192), ((90, 60), 96)])
def test_images_are_no_larger_than_the_photographs(tmp_path, size, expected):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        Image.new("RGB", size).save(tmp_path / kind / "1.png")
    (tmp_path / "a/bad.png").write_bytes(b"hello")
    (tmp_path / "corrections.csv").write_text("path,label\na/bad.png,\n")  # as `fcnn audit` leaves it out
    options = Config(data=DataConfig(name="folder:x", corrections=str(tmp_path / "corrections.csv")))
    info = random_network("lenet5", size=224).info
    config = photos._first(tmp_path, options, (), "x", info, no_progress)
    assert config.data.image_size == expected


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet20"])  # the second is the default of model.name
def test_somebody_elses_file_is_of_the_network_that_is_named(folder, tmp_path, name):
    path = str(tmp_path / "theirs.safetensors")
    save_file(to_torch(name, random_network(name, width_multiplier=0.125).variables), path)
    model = ModelConfig(name=name, width_multiplier=0.125)
    given = Config(data=DataConfig(image_size=32), model=model, transfer=TransferConfig(weights=path, strategy="auto"))
    found = photos.configure(folder, given, {"transfer.weights", "model.name", "model.width-multiplier"}).config
    assert found.model == dataclasses.replace(model, options={"linear_head": True} if "squeeze" in name else {})


def test_what_the_folder_says_is_not_said_twice(folder, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for option, words in (
        (["--data.name", "digits"], "is the data; leave --data.name digits out"),
        (
            ["--minutes", "5", "--train.epochs", "3"],
            "--minutes has no effect with --train.epochs; leave one of them out",
        ),
        (["--minutes", "0"], "--minutes must be above 0, got 0"),
        (["--model.name", "vgg11"], "--model.name vgg11 needs its weights: --transfer.weights FILE"),
    ):
        assert cli.main(["train", str(folder), *option]) == 2
        assert words in capsys.readouterr().err


def test_the_best_network_that_is_here_and_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("FCNN_CACHE", str(tmp_path))
    assert photos._here(None) == "efficientnet_lite0"  # which comes with the installation
    monkeypatch.setattr(photos, "PREFERRED", photos.PREFERRED[1:])
    assert photos._here(None) == "cifar10_resnet20"
    zoo.folder().mkdir(parents=True)
    zoo.where(zoo.TABLE["squeezenet1_1"]).touch()
    assert photos._here(None) == "squeezenet1_1"
    assert photos._here(ModelConfig(name="resnet20")) == "cifar10_resnet20"
    assert set(photos.PREFERRED) <= set(zoo.TABLE)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "there is no folder nowhere; presets are passed with --config: "),
        (["my photos", "--train.epoch", "3"], "unknown option '--train.epoch'; did you mean"),
        (["my photos/dark"], "my photos/dark has images and no folder of a class: put the images of each class"),
        (["my photos", "--workdir", "other"], "other holds a run on digits; take another --workdir"),
    ],
)
def test_mistakes_end_before_anything_is_written(folder, tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text("{}")
    assert cli.main(["train", *arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert "Traceback" not in said
    assert not list(Path().glob("runs/*"))


def test_a_presets_name_is_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet").mkdir()
    assert cli.main(["train", "resnet"]) == 2
    assert "pass the preset with --config: fcnn train --config resnet" in capsys.readouterr().err
    assert folder_of(["--help"]) is None


@pytest.mark.slow
def test_a_new_head_and_then_everything_from_there(folder, tmp_path, monkeypatch, capsys):
    """The two presets for photographs, the second on what the first leaves where it leaves it."""
    monkeypatch.chdir(tmp_path)
    small = ["--model.width-multiplier", "0.125", "--data.image-size", "32"]
    small += ["--train.batch-size", "4", "--train.epochs", "1"]
    write_network(tmp_path / "imagenet.safetensors", random_network("squeezenet1_0", width_multiplier=0.125, classes=7))
    options = ["--data.name", f"folder:{folder}", *small]
    weights = ["--transfer.weights", "imagenet.safetensors"]
    assert cli.main(["train", "--config", "transfer_head", *options, *weights]) == 0
    assert "The head is new: " in capsys.readouterr().out
    assert cli.main(["train", "--config", "transfer_full", *options]) == 0
    assert f"From {tmp_path}/runs/transfer_head-001. The head is that of the weights." in capsys.readouterr().out
