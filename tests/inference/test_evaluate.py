"""`fcnn evaluate NETWORK --data.name ...`: any network on any labelled images, against NumPy and the run's numbers."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from harness import MEAN, STD, random_network
from PIL import Image
from test_predict import run  # noqa: F401  # the fixture

from fcnn import cli
from fcnn.config import DataConfig
from fcnn.data import load
from fcnn.weights import write_network

NUMBERS = ("count", "top1", "top5", "interval", "recall", "images")


def evaluated(capsys, *args):
    code = cli.main(["evaluate", *map(str, args), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def check_same(found, own):
    assert {name: found[name] for name in NUMBERS} == {name: own[name] for name in NUMBERS}
    assert found["loss"] == pytest.approx(own["loss"], rel=1e-5)


def test_they_are_the_runs_own_numbers(run, tmp_path, capsys):  # noqa: F811
    """Of a run, its weights and its programs, on its test images, where they are and as a folder of classes alone."""
    root, _ = run
    own = evaluated(capsys, root / "run")
    assert own["workdir"] == str(root / "run")
    for name in ("run/model.safetensors", "run/model.stablehlo", "run/pixels.stablehlo"):
        found = evaluated(capsys, root / name, "--data.name", f"folder:{root / 'images'}")
        assert (found["split"], found["network"], found["trained_on"]) == ("test", str(root / name), None)
        assert found["weights"] == own["weights"] == "ema"
        check_same(found, own)
    shutil.copytree(root / "images/test", tmp_path / "alone")
    found = evaluated(capsys, root / "run", "--data.name", f"folder:{tmp_path / 'alone'}")
    assert (found["split"], found["trained_on"], found["num_classes"]) == ("all", 0, 3)
    check_same(found, own)


def test_images_that_the_run_was_trained_on_are_counted(run, tmp_path, capsys):  # noqa: F811
    root, _ = run
    everything = evaluated(capsys, root / "run", "--split", "all")
    assert (everything["count"], everything["trained_on"]) == (180, 60)
    shutil.copytree(root / "images/test", tmp_path / "mixed")
    shutil.copy(root / "images/train/red/3.png", tmp_path / "mixed/red/other name.png")
    assert cli.main(["evaluate", str(root / "run"), "--data.name", f"folder:{tmp_path / 'mixed'}"]) == 0
    out = capsys.readouterr().out
    assert "mixed, all 121 images, averaged weights: top-1" in out
    assert "Note: the run was trained on 1 of these 121 images." in out
    for split, count in (("train", 60), ("test", 120)):
        found = evaluated(capsys, root / "run", "--data.name", f"folder:{root / 'images'}", "--split", split)
        assert found["count"] == count
        assert "workdir" in found  # the run's own
    same = ["evaluate", str(root / "run"), "--data.name", f"folder:{root / 'images'}"]
    for option in (["--data.on-bad-image", "skip"], ["--data.value-range", "0", "9"]):
        assert cli.main([*same, *option]) == 2
        assert f"{option[0]} has no effect: these are the run's own images" in capsys.readouterr().err


def solid(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (16, 16, 3), np.uint8)).save(path)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of the classes a to d, as a file."""
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    trained = random_network("linear", size=16)
    write_network(path, trained)
    return path, trained


def logits(trained, images):
    """A linear network's, by NumPy in float64: images (N, H, W, 3) uint8 -> (N, 4)."""
    ((head),) = trained.variables["params"].values()
    x = (np.asarray(images, np.float64) / 255 - MEAN) / STD
    return x.reshape(len(x), -1) @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"], np.float64)


def test_a_subset_of_the_classes_is_compared_among_itself(network, tmp_path, capsys):
    """Classes in another order than the network's, one with a single image; more images than a batch has."""
    path, trained = network
    for i in range(70):
        solid(tmp_path / "set/d" / f"{i}.png", i)
    solid(tmp_path / "set/b/only.png", 99)
    images = [np.asarray(Image.open(p)) for p in (tmp_path / "set/b/only.png", *sorted((tmp_path / "set/d").iterdir()))]
    labels = np.asarray([1] + [3] * 70)
    scores = logits(trained, images)
    two = scores[:, [1, 3]]
    right = two.argmax(axis=1) == (labels == 3)
    loss = (
        np.log(np.exp(two - two.max(axis=1, keepdims=True)).sum(axis=1)) + two.max(axis=1) - scores[range(71), labels]
    )
    found = evaluated(capsys, path, "--data.name", f"folder:{tmp_path / 'set'}")
    assert (found["count"], found["num_classes"], found["network_classes"]) == (71, 2, 4)
    assert found["top1"] == pytest.approx(right.mean())
    assert found["loss"] == pytest.approx(loss.mean(), rel=1e-5)
    assert found["recall"] == pytest.approx({"b": float(right[0]), "d": right[1:].mean()})
    assert found["top1_all_classes"] == pytest.approx((scores.argmax(axis=1) == labels).mean())
    assert found["top1"] > found["top1_all_classes"] > 0
    assert cli.main(["evaluate", str(path), "--data.name", f"folder:{tmp_path / 'set'}"]) == 0
    said = capsys.readouterr().out
    assert f"all 71 images: top-1 among the 2 classes of this data {100 * right.mean():.2f} %" in said
    assert "Among all 4 classes of the network: top-1 " in said
    # A single class is compared with all of them: among itself every answer would be right.
    (tmp_path / "set/b").rename(tmp_path / "b")
    found = evaluated(capsys, path, "--data.name", f"folder:{tmp_path / 'set'}")
    assert found["top1"] == found["top1_all_classes"] == found["recall"]["d"]
    assert found["images"] == {"d": 70}


def test_classes_that_the_network_does_not_know_are_named(network, tmp_path, capsys):
    path, _ = network
    for name in ("A", "b", "zebra"):
        solid(tmp_path / "set" / name / "0.png", 1)
    assert cli.main(["evaluate", str(path), "--data.name", f"folder:{tmp_path / 'set'}"]) == 2
    said = capsys.readouterr()
    assert f"doesn't know 2 of the 3 classes of folder:{tmp_path / 'set'} (A, zebra)" in said.err
    assert "its 4 classes are a, b, c, d" in said.err
    assert "A may be a" in said.err
    assert said.out == ""


def test_a_network_that_knows_numbers_alone(network, tmp_path, capsys, monkeypatch):
    from fcnn.inference import evaluate, predict

    info, call = predict.load_classifier(str(network[0]))
    numbers = dataclasses.replace(info, classes=("0", "1", "2", "3"), named=False)
    monkeypatch.setattr(evaluate, "load_classifier", lambda _, **options: (numbers, call))
    solid(tmp_path / "names/b/0.png", 1)
    assert cli.main(["evaluate", str(network[0]), "--data.name", f"folder:{tmp_path / 'names'}"]) == 2
    assert "by number alone" in (said := capsys.readouterr().err)
    assert "--labels" in said
    for name in "13":
        solid(tmp_path / "numbers" / name / "0.png", 1)
    assert evaluated(capsys, network[0], "--data.name", f"folder:{tmp_path / 'numbers'}")["count"] == 2


def test_a_published_set_is_resized_as_its_files_would_be(tmp_path, capsys):
    """Gray digits of 8 x 8 pixels, for a network of 16 x 16 in color."""
    trained = random_network("linear", size=16, classes=10)
    info = dataclasses.replace(trained.info, classes=tuple("0123456789"))
    write_network(tmp_path / "net.safetensors", dataclasses.replace(trained, info=info))
    found = evaluated(capsys, tmp_path / "net.safetensors", "--data.name", "digits")
    digits = load(DataConfig())
    for label in range(10):
        (tmp_path / "set" / str(label)).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(digits.test.images, digits.test.labels, strict=True)):
        Image.fromarray(image[..., 0]).save(tmp_path / "set" / str(label) / f"{i}.png")
    check_same(found, evaluated(capsys, tmp_path / "net.safetensors", "--data.name", f"folder:{tmp_path / 'set'}"))
    assert (found["split"], found["count"]) == ("test", 360)
    assert evaluated(capsys, tmp_path / "net.safetensors", "--data.name", "digits", "--split", "all")["count"] == 1797


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["cifar10_resnet20"], "is not a run: give its images with --data.name"),
        (["nowhere"], "there is no folder nowhere"),
        (["nowhere", "--data.name", "digits"], "unknown network 'nowhere'"),
        (["NET", "--data.name", "digitz"], "unknown data.name 'digitz'; did you mean digits?"),
        (["NET", "--data.name", "folder:nowhere"], "there is no such folder"),
        (["NET", "--data.name", "digits", "--split", "validation"], "no validation split of its own; --split train or"),
        (["NET", "--data.on-bad-image", "skip"], "go with --data.name"),
    ],
)
def test_mistakes(args, words, network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", *(str(network[0]) if arg == "NET" else arg for arg in args)]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert len(said.err.splitlines()) <= 2
    assert said.out == ""


def test_a_checkpoint_that_lost_an_array_is_refused(run, tmp_path, capsys):  # noqa: F811
    """Orbax reads what its list names: an array that isn't on it is not missed."""
    shutil.copytree(run[0] / "run", tmp_path / "run")
    for path in (tmp_path / "run").glob("checkpoints/*/state/_METADATA"):
        stored = json.loads(path.read_text())
        del stored["tree_metadata"][next(name for name in stored["tree_metadata"] if "ema" in name and "bias" in name)]
        path.write_text(json.dumps(stored))
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 2
    assert "the checkpoint doesn't fit the config and the data of the run: params/" in capsys.readouterr().err
