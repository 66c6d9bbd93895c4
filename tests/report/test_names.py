"""Names that somebody else's program takes for markup, a pattern or a template: as classes, files and folders."""

import csv
import html
import json

import matplotlib.axes
import numpy as np
import pytest
from PIL import Image

from fcnn import cli
from fcnn.config import DataConfig
from fcnn.data import load
from fcnn.report.files import png, shorten
from fcnn.utils.text import printable

NAMES = ["a$_{$", "[red]b[", "<i>&amp;c", "%s {0} {x}", ":cat: 日本 😀", "שלום", "x" * 200, "_new\nline"]
FOLDER = "p$a_{$[red][{x}%s <&>:cat:"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with such a folder of images in it, and a preset."""
    rng, place = np.random.default_rng(0), tmp_path_factory.mktemp("names")
    for k, name in enumerate(NAMES):
        (place / FOLDER / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8) + np.uint8(20 * k)
            Image.fromarray(pixels).save(place / FOLDER / name / f"im$_{{{i}[red].png")
    (place / "pre$_{[b]%s.py").write_text(
        "from fcnn.config import *\n"
        f"CONFIG = Config(data=DataConfig(name={'folder:' + FOLDER!r}, image_size=8), model=ModelConfig(name='linear'),"
        "train=TrainConfig(epochs=1, batch_size=8))\n"
    )
    return place


def test_every_command_prints_and_draws_them(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    run, image = "_r$_{$b]%d{}:cat:", f"{FOLDER}/a$_{{$/im$_{{1[red].png"

    def fcnn(*args):
        assert cli.main(args) == 0, capsys.readouterr()
        told = capsys.readouterr()
        assert told.err == ""
        return told.out

    told = fcnn("data", "show", f"folder:{FOLDER}", "--data.image-size", "8")
    assert (place / "cat.png").exists()
    for name in NAMES[:6]:
        assert f"\n{name} " in told
    assert fcnn("train", "--config", "pre$_{[b]%s.py", "--workdir", run).splitlines()[-2].endswith(f" are in {run}")
    assert f"are in {run}/show" in fcnn("show", run, "--image", image)
    assert image in fcnn("predict", run, image)
    (place / "_b").symlink_to(run)
    fcnn("compare", run, "_b", "--out", "c$_{.html")
    for page in (place / "c$_{.html", place / run / "report.html", place / run / "show/show.html"):
        text = page.read_text(encoding="utf-8")
        assert "<i>" not in text
    mistakes = list(csv.DictReader((place / run / "show/mistakes.csv").read_text(encoding="utf-8").splitlines()))
    assert mistakes
    for row in mistakes:
        assert row["file"].startswith(row["label"] + "/im$_{")
        label = html.escape(f"{row['label']}, predicted as {row['prediction']}")
        page = (place / run / "report.html").read_text(encoding="utf-8")
        assert f"{html.escape(row['file'])}<small>{label}" in page
    assert json.loads(fcnn("evaluate", run, "--json"))["recall"].keys() == set(map(printable, NAMES))


def test_the_files_of_a_split_are_those_of_its_images(place, monkeypatch):
    monkeypatch.chdir(place)
    dataset = load(DataConfig(name=f"folder:{FOLDER}", image_size=16))
    for split in ("train", "validation", "test"):
        paths, images = dataset.paths(split), getattr(dataset, split).images
        assert len(paths) == len(images)
        for path, image in zip(paths, images, strict=True):
            with Image.open(place / FOLDER / path.replace("\\n", "\n")) as file:
                np.testing.assert_array_equal(np.asarray(file), image)


def test_both_of_two_runs_are_in_the_legend_though_one_begins_with_an_underscore(place, monkeypatch):
    from fcnn.report.compare import Compared, _draw

    kept = []
    monkeypatch.setattr(matplotlib.axes.Axes, "legend", lambda axis, **_: kept.append(axis.get_legend_handles_labels()))
    records = [
        {"kind": "epoch", "split": "validation", "weights": "raw", "epoch": 1.0, "step": 1, "loss": 1.0, "top1": 0.5}
    ]
    _draw([Compared(name, {}, records) for name in ("_a", "b" * 300)])
    assert [label.strip() for label in kept[0][1]] == ["_a", "b" * 57 + "..."]


def test_a_letter_that_the_font_lacks_is_drawn_without_a_warning():
    from matplotlib.figure import Figure

    figure = Figure()
    figure.suptitle("😀 日本 $x_{$")
    assert png(figure).startswith(b"\x89PNG")
    assert shorten("a\n" + 50 * "b", 10) == "a\nbbbbbbb..."


@pytest.mark.parametrize("command", ["train --workdir", "search --workdir"])
@pytest.mark.parametrize("name", ["[2024] cats", "a*b", "what?", "back\\slash"])
def test_where_checkpoints_could_not_be_read_again_nothing_is_written(command, name, tmp_path, monkeypatch, capsys):
    """Orbax merges the files of a checkpoint by a pattern that has the folder's path in it."""
    monkeypatch.chdir(tmp_path)
    word, option = command.split()
    assert cli.main([word, "--config", "resnet", option, f"{name}/run"]) == 2
    assert f"checkpoints could not be read from there; take another {option}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
