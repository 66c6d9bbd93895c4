"""Predictions of files: those that the run's own evaluation makes, from the run and from each of its exports."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnn import cli
from fcnn.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from fcnn.report import Console
from fcnn.training import trainer

SIZES = ((20, 12), (12, 20), (16, 16))


def draw(path, kind, size, seed):
    """Noise around red, green or blue, in the middle third of an image that isn't a square."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 240, (height, width, 3))
    pixels[..., kind] += 15
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a folder of images, with both of its exports; and its test images by class."""
    root = tmp_path_factory.mktemp("predict")
    for split, count in (("train", 20), ("test", 40)):
        for kind, name in enumerate(("red", "green", "blue")):
            (root / "images" / split / name).mkdir(parents=True)
            for i in range(count):
                kinds = {"red": "png", "green": "jpg", "blue": "bmp"}
                draw(
                    root / "images" / split / name / f"{i}.{kinds[name]}",
                    kind,
                    SIZES[i % 3],
                    [split == "test", kind, i],
                )
    config = Config(
        data=DataConfig(name=f"folder:{root / 'images'}", image_size=8, val_fraction=0.0),
        model=ModelConfig(name="linear"),
        optim=OptimConfig(name="adam", learning_rate=0.01),
        train=TrainConfig(epochs=2, batch_size=20, eval_batch_size=40, ema_decay=0.99),
    )
    found = trainer.train(config, root / "run", Console(stderr=True))
    for arguments in ([], ["--format", "stablehlo"], ["--format", "stablehlo", "--pixels", "--out"]):
        out = [str(root / "run" / "pixels.stablehlo")] if "--out" in arguments else []
        assert cli.main(["export", str(root / "run"), *arguments, *out]) == 0
    return root, found


def test_they_are_the_evaluations(run, capsys):
    root, found = run
    paths = sorted((root / "images" / "test").rglob("*.*"))
    told = {}
    for name in ("run", "run/model.safetensors", "run/model.stablehlo", "run/pixels.stablehlo"):
        assert cli.main(["predict", str(root / name), *map(str, paths), "--top", "2", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["weights"] == "ema"
        told[name] = answer["predictions"]
        assert [one["image"] for one in told[name]] == list(map(str, paths))
        assert {len(one["top"]) for one in told[name]} == {2}
        hits = dict.fromkeys(("red", "green", "blue"), 0)
        for path, one in zip(paths, told[name], strict=True):
            hits[path.parent.name] += one["top"][0]["class"] == path.parent.name
            assert 1 >= one["top"][0]["probability"] >= one["top"][1]["probability"] >= 0
        recall = {kind: count / 40 for kind, count in hits.items()}
        assert recall == pytest.approx(found["recall"])
    assert 0.4 < found["top1"] < 1  # some are wrong
    for name in told:
        for one, other in zip(told["run"], told[name], strict=True):
            a, b = one["top"][0], other["top"][0]
            assert a["class"] == b["class"]
            assert a["probability"] == pytest.approx(b["probability"], rel=1e-5)


def test_a_bad_image_is_told_and_does_not_stop_the_others(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, _ = run
    draw("good.png", 0, (16, 16), 0)
    Image.new("L", (9, 9), 100).save("gray.png")
    (tmp_path / "bad.png").write_bytes(b"hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder").mkdir()
    names = ["bad.png", "good.png", "nowhere.png", "folder", "gray.png", "empty.png"]
    assert cli.main(["predict", str(root / "run"), *names]) == 1
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["good.png", "gray.png"]
    assert said.out.startswith("good.png: red ")
    first, *errors = said.err.splitlines()
    assert first == f"Using the averaged weights of {root / 'run'}"
    assert [line.split(":")[1].strip() for line in errors] == [
        "bad.png", "nowhere.png", "folder", "empty.png",
    ]  # fmt: skip
    assert cli.main(["predict", str(root / "run"), *names, "--json"]) == 1
    answers = json.loads(capsys.readouterr().out)["predictions"]
    assert [("error" in one, "top" in one) for one in answers] == [
        (name not in ("good.png", "gray.png"), name in ("good.png", "gray.png")) for name in names
    ]


def test_a_table_has_a_row_for_each_image(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, _ = run
    network, folder = str(root / "run"), root / "images" / "test"
    (tmp_path / "bad.png").write_bytes(b"hello")
    assert cli.main(["predict", network, "bad.png", str(folder), "--csv", "-", "--top", "2"]) == 1
    said = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert "bad.png: not an image" in said.err
    assert rows[0] == dict.fromkeys(rows[0], "") | {"path": "bad.png", "error": "not an image that Pillow can read"}
    assert [row["path"] for row in rows[1:]] == sorted(map(str, folder.rglob("*.*")))
    assert cli.main(["predict", network, str(folder), "--json", "--csv", "out.csv"]) == 0
    said = capsys.readouterr()
    assert "out.csv: 120 images: " in said.err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 121
    for row, one in zip(rows[1:], json.loads(said.out)["predictions"], strict=True):
        assert row["class"] == row["class_1"] == one["class"] == one["top"][0]["class"]
        assert row["class_2"] == one["top"][1]["class"]
        for name, k in (("probability", 0), ("probability_1", 0), ("probability_2", 1)):
            assert float(row[name]) == pytest.approx(one["top"][k]["probability"], abs=1e-5)


def test_below_the_threshold_it_is_unsure_and_images_are_sorted(run, tmp_path, capsys):
    root, _ = run
    network, folder = str(root / "run"), str(root / "images" / "test")
    assert cli.main(["predict", network, folder, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["predictions"]
    threshold = sorted(one["top"][0]["probability"] for one in answers)[60]
    expected = [one["class"] if one["top"][0]["probability"] >= threshold else "unsure" for one in answers]
    assert expected.count("unsure") == 60
    sort = [network, folder, "--threshold", repr(threshold), "--sort-into", str(tmp_path / "out")]
    assert cli.main(["predict", *sort]) == 0
    assert f"{tmp_path / 'out'}: 120 images: unsure 60, " in capsys.readouterr().out
    linked = {(link.parent.name, link.resolve()) for link in (tmp_path / "out").glob("*/*")}
    assert linked == {(name, Path(one["image"]).resolve()) for name, one in zip(expected, answers, strict=True)}
    assert cli.main(["predict", *sort[:-2], "--top", "1"]) == 0
    assert sum(": unsure (" in line for line in capsys.readouterr().out.splitlines()) == 60


def test_an_image_and_its_mirror_image_are_one_with_tta(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, _ = run
    image = Image.open(next((root / "images/test/red").iterdir()))
    image = image.resize((8, 8))
    image.save("a.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("b.png")
    told = {}
    for tta in ([], ["--tta"]):
        assert cli.main(["predict", str(root / "run"), "a.png", "b.png", "--json", *tta]) == 0
        answers = json.loads(capsys.readouterr().out)["predictions"]
        told[bool(tta)] = [{one["class"]: one["probability"] for one in answer["top"]} for answer in answers]
    a, b = told[False]
    assert a != pytest.approx(b, rel=1e-3)
    assert told[True] == [pytest.approx({name: (a[name] + b[name]) / 2 for name in a}, rel=1e-5)] * 2


def test_mistakes(run, capsys, tmp_path):
    for arguments, words in (
        ([], "WORKDIR|EXPORT|NAME is required"),
        (["run"], "needs an image: fcnn predict WORKDIR|EXPORT IMAGE..."),
        (["run", "a.png", "--top", "0"], "--top must be at least 1, got 0"),
        (["run", "a.png", "--threshold", "70"], "--threshold must be from 0 to 1, got 70"),
        (["run", "a.png", "--json", "--csv", "-"], "both write to standard output"),
        (["run", "a.png", "--csv", str(tmp_path)], "is a folder; give the name of a file"),
        ([str(run[0] / "run"), "a.png", "--sort-into", str(run[0] / "images")], "is not empty"),
        ([str(tmp_path / "nowhere"), "a.png"], "there is no file"),
        ([str(tmp_path), "a.png"], "is not the folder of a run"),
        ([str(tmp_path / "a.stablehlo"), "a.png"], "there is no file"),
    ):
        assert cli.main(["predict", *arguments]) == 2
        said = capsys.readouterr()
        assert words in said.err
        assert said.out == ""
