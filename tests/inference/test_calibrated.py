"""A run that is calibrated at its end: what it keeps, what is exported, what `predict` and `evaluate` make of it."""

import csv
import dataclasses
import io
import json
import shutil
from typing import Any

import chex
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support

import fcnn
from fcnn import cli
from fcnn.calibration import Calibration, calibration_error, prediction_sets, softmax, threshold_for
from fcnn.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from fcnn.inference.predict import load_classifier, predict
from fcnn.report import Console
from fcnn.training import trainer
from fcnn.training.pretrained import load_network
from fcnn.utils.errors import UserError
from fcnn.weights import read_network, write_network

CLASSES = ("blue", "green", "red")


def draw(path, kind, seed):
    """Noise with a little more of red, green or blue."""
    pixels = np.random.default_rng(seed).integers(0, 200, (8, 8, 3))
    pixels[..., kind] += 25
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images by class, a run on them that is too sure, its export, and images of no class."""
    root = tmp_path_factory.mktemp("calibrated")
    for split, count in (("train", 90), ("test", 60)):
        for kind, name in enumerate(reversed(CLASSES)):
            (root / "images" / split / name).mkdir(parents=True)
            for i in range(count):
                draw(root / "images" / split / name / f"{i}.png", kind, [split == "test", kind, i])
    config = Config(
        data=DataConfig(name=f"folder:{root / 'images'}", image_size=8, val_fraction=0.5),
        model=ModelConfig(name="mlp"),
        optim=OptimConfig(name="adam", learning_rate=0.002),
        train=TrainConfig(epochs=20, batch_size=44, eval_batch_size=44, eval_epochs=20),
    )
    trainer.train(config, root / "run", Console(stderr=True))
    assert cli.main(["export", str(root / "run")]) == 0
    assert cli.main(["export", str(root / "run"), "--format", "stablehlo"]) == 0
    (root / "others").mkdir()
    for i, color in enumerate(("black", "yellow", "white")):
        Image.new("RGB", (8, 8), color).save(root / "others" / f"{i}.png")
    return root


def logits_of(network, split, root):
    """Raw logits and labels of a split, computed apart from what is tested."""
    paths = sorted((root / "images" / split).rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    logits = np.asarray(network.apply(network.variables, network.preprocess(pixels)))
    return paths, logits, np.array([CLASSES.index(path.parent.name) for path in paths])


def test_all_that_comes_of_a_run_is_calibrated(root, capsys):
    network = fcnn.load(root / "run")
    calibration = network.info.calibration
    assert calibration.images == 135
    assert abs(calibration.temperature - 1) > 0.1
    assert len(calibration.thresholds) == 50
    assert network.classes == CLASSES
    paths, logits, labels = logits_of(network, "test", root)
    expected = softmax(logits / calibration.temperature)
    assert network.predict(paths) == pytest.approx(expected, abs=1e-5)
    for count in (1, 3, 33):  # programs of other sizes
        assert network.predict(paths[:count]) == pytest.approx(expected[:count], abs=1e-5)
    for image in (paths[0], str(paths[0]), io.BytesIO(paths[0].read_bytes()), Image.open(paths[0])):
        chex.assert_trees_all_equal(network.predict(image), network.predict([image]), network.predict(paths[:1]))
    wrong: Any
    for wrong, message in (
        ([3], "a path, an open file or one of Pillow's, got int"),
        (np.zeros((8, 8, 3)), "must be uint8, N x "),
    ):
        with pytest.raises(UserError, match=message):
            network.predict(wrong)
    assert network.predict([]).shape == (0, len(CLASSES))
    assert (expected.argmax(axis=1) == logits.argmax(axis=1)).all()
    limit = threshold_for(calibration.thresholds, 0.9, 135)
    sets = prediction_sets(expected, limit)
    for name in ("run", "run/model.safetensors", "run/model.stablehlo"):
        command = ["predict", str(root / name), str(root / "images/test"), "--json", "--coverage", "0.9"]
        assert cli.main(command) == 0
        answers = json.loads(capsys.readouterr().out)["predictions"]
        for answer, row, inside in zip(answers, expected, sets, strict=True):
            assert answer["top"][0]["probability"] == pytest.approx(row.max(), abs=1e-4)
            assert set(answer["set"]) == {network.classes[k] for k in np.flatnonzero(inside)}
            assert ("none_of_these" in answer) == (not name.endswith("hlo"))  # a program gives logits alone
        if name == "run":  # the same answers in Python
            for answer, own in zip(answers, network.classify(paths, coverage=0.9), strict=True):
                assert answer.pop("image")
                chances = [[one.pop("probability") for one in found["top"]] for found in (answer, own)]
                assert chances[0] == pytest.approx(chances[1], abs=1e-5)
                assert answer == own
    assert sets[np.arange(180), labels].mean() > 0.8
    assert read_network(root / "run/model.safetensors").info.calibration == calibration


def test_evaluate_gives_precision_f1_and_calibration(root, capsys):
    network = fcnn.load(root / "run")
    calibration = network.info.calibration
    paths, logits, own = logits_of(network, "test", root)
    assert cli.main(["evaluate", str(root / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    reference: Any = precision_recall_fscore_support
    *metrics, images = reference(own, logits.argmax(axis=1), labels=range(3), zero_division=0)
    macro = reference(own, logits.argmax(axis=1), average="macro", zero_division=0)
    for i, name in enumerate(("precision", "recall", "f1")):
        assert list(found[name].values()) == pytest.approx(list(metrics[i]))
        assert found["macro"][name] == pytest.approx(macro[i])
    assert list(found["images"].values()) == list(images)
    report = found["calibration"]
    assert report["error_before"] == pytest.approx(calibration_error(softmax(logits), own), abs=1e-4)
    calibrated = softmax(logits, calibration.temperature)
    assert report["error"] == pytest.approx(calibration_error(calibrated, own), abs=1e-4)
    sets = prediction_sets(calibrated, threshold_for(calibration.thresholds, 0.95, 135))
    assert report["set_size"] == pytest.approx(sets.sum() / 180)
    assert report["covered"] == pytest.approx(sets[np.arange(180), own].mean())
    means: Any = calibration.means(3)
    nearest = (directions(network, paths) @ means.T).max(axis=1)
    assert report["false_alarms"] == pytest.approx((nearest < calibration.least_similarity).mean(), abs=1 / 180)
    bins = report["reliability"]
    assert [sum(count for count, _, _ in bins[name]) for name in ("before", "after")] == [180, 180]
    assert sum(count * right for count, _, right in bins["after"]) / 180 == pytest.approx(found["top1"])
    assert cli.main(["evaluate", str(root / "run"), "--split", "validation"]) == 0
    said = capsys.readouterr().out
    assert "Expected calibration error: " in said
    assert "% prediction sets: mean size " in said
    assert "None of these: " in said
    assert "A perfectly calibrated model would have about " in said
    assert "probability  " in said
    assert "Note: the calibration was fitted on these images" in said
    assert "mean of all classes" in said


def test_evaluate_names_the_split_that_the_calibration_was_fitted_to(root, tmp_path, capsys):
    """The validation split; of a linear probe that is kept, the training split."""
    shutil.copytree(root / "run", tmp_path / "run")
    path = tmp_path / "run" / "calibration.json"
    values = json.loads(path.read_text())
    assert values["split"] == "validation"
    path.write_text(json.dumps(values | {"split": "train"}))
    for split in ("validation", "train"):
        assert cli.main(["evaluate", str(tmp_path / "run"), "--split", split]) == 0
        assert ("the calibration was fitted on these images" in capsys.readouterr().out) == (split == "train")


def test_no_paths_have_no_predictions(root):
    info, classify = load_classifier(str(root / "run"))
    assert list(predict(info, classify, [], top=1)) == []


def test_other_images_are_reported_as_the_runs_own(root, capsys):
    def calibration(*args):
        assert cli.main(["evaluate", *map(str, args), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["calibration"]

    own, images = calibration(root / "run"), f"folder:{root / 'images/test'}"
    for network in ("run/model.safetensors", "run/model.stablehlo"):
        found = calibration(root / network, "--data.name", images)
        assert found.keys() == own.keys() - {"fitted_on"} - ({"false_alarms"} if network.endswith("hlo") else set())
        for name in ("images", "temperature", "error_before", "error", "covered", "set_size"):
            assert found[name] == pytest.approx(own[name], abs=1e-5)


def directions(network, paths):
    """Features of length 1, computed apart from what is tested."""
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    images = network.preprocess(pixels)
    features = network.model.apply(network.variables, images, train=False, features=("hidden2",))[1]["hidden2"]
    return np.asarray(features) / np.linalg.norm(features, axis=1, keepdims=True)


def test_the_nearest_class_mean_decides_what_is_none_of_these(root, capsys):
    network = fcnn.load(root / "run")
    calibration = network.info.calibration
    assert calibration.endpoint == "hidden2"
    splits = csv.DictReader(io.StringIO((root / "run/splits.csv").read_text()))
    files = [(row["split"], root / "images" / row["path"]) for row in splits]
    train, validation = ([path for split, path in files if split == name] for name in ("train", "validation"))
    labels = np.array([CLASSES.index(path.parent.name) for path in train])
    means = np.stack([directions(network, train)[labels == k].mean(axis=0) for k in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert calibration.means(3) == pytest.approx(means, abs=1e-3)
    nearest = (directions(network, validation) @ means.T).max(axis=1)
    assert calibration.least_similarity == pytest.approx(np.sort(nearest)[5], abs=1e-3)  # 136 x 5 % = 6.8
    others = sorted((root / "others").iterdir())
    found = directions(network, others) @ means.T
    assert cli.main(["predict", str(root / "run"), str(root / "others"), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["predictions"]
    assert [answer["nearest"] for answer in answers] == [CLASSES[k] for k in found.argmax(axis=1)]
    assert [answer["none_of_these"] for answer in answers] == list(found.max(axis=1) < calibration.least_similarity)


def test_images_of_no_class_are_none_of_these(root, capsys, tmp_path):
    network, path = load_network(str(root / "run")), tmp_path / "strict.safetensors"
    strict = dataclasses.replace(network.info.calibration, least_similarity=0.999)
    write_network(path, dataclasses.replace(network, info=dataclasses.replace(network.info, calibration=strict)))
    others = str(root / "others")
    assert cli.main(["predict", str(path), others, "--csv", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["class"], row["probability"]) for row in rows] == [("none of these", "")] * 3
    assert cli.main(["predict", str(path), others, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["predictions"]
    assert [(answer["class"], answer["none_of_these"]) for answer in answers] == [(None, True)] * 3
    assert cli.main(["predict", str(path), others, "--sort-into", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "none of these").iterdir())) == 3
    assert cli.main(["predict", str(path), f"{others}/0.png"]) == 0
    assert ": none of these; nearest to " in capsys.readouterr().out


def test_weights_without_calibration_promise_nothing(root, tmp_path, capsys):
    network = load_network(str(root / "run"))
    path = tmp_path / "plain.safetensors"
    write_network(path, dataclasses.replace(network, info=dataclasses.replace(network.info, calibration=Calibration())))
    assert b"calibration" not in path.read_bytes()[:2000]
    image = str(root / "others/0.png")
    assert cli.main(["predict", str(path), image, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["predictions"]
    assert answer.keys() == {"image", "class", "top"}
    for arguments, words in (
        ([str(path), image, "--coverage", "0.9", "--sort-into", str(tmp_path / "x")], "needs a calibrated network"),
        ([str(root / "run"), image, "--coverage", "9"], "in whole percents, got 9"),
        ([str(root / "run"), image, "--coverage", "0.9", "--tta"], "leave --tta out"),
    ):
        assert cli.main(["predict", *arguments]) == 2
        said = capsys.readouterr()
        assert words in said.err
        assert said.out == ""
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("change", [{"temperature": 0}, {"class_means": "AAAA"}, {"thresholds": [3.0]}, {"odd": 1}])
def test_a_damaged_calibration_is_refused_in_a_line(root, tmp_path, change):
    network = load_network(str(root / "run"))
    info = network.info.to_dict()
    info["calibration"] |= change
    with pytest.raises(UserError, match=r"^here: .*calibration"):
        type(network.info).from_json(json.dumps(info), "here")


def test_the_calibration_is_of_the_weights_that_it_was_fitted_to(root):
    path = root / "run" / "calibration.json"
    text = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(text) | {"step": 1}))
        assert load_network(str(root / "run")).info.calibration == Calibration()
        for damaged in ("{", "[]", "[" * 100_000, text.replace('"temperature"', '"temprature"')):
            path.write_text(damaged)
            network = load_network(str(root / "run"))
            assert network.info.calibration == Calibration()
            assert "calibration.json is damaged" in network.notes[0]
    finally:
        path.write_text(text)
