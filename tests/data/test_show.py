"""`fcnn data`: what it tells, the sheet that it draws, and what it refuses."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from fcnn import cli
from fcnn.config import DataConfig
from fcnn.data import load, show
from fcnn.data.dataset import Dataset, Split
from fcnn.data.show import COLUMNS, ROWS, contact_sheet, describe, draw_panels, pick


def test_show_tells_counts_and_draws_a_sheet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "show", "digits", "--data.val-fraction", "0"]) == 0
    said = capsys.readouterr().out
    assert "digits: 10 classes; 1,437 training, 0 validation, 360 test images of 8 x 8 pixels, gray" in said
    assert "mean 0.30" in said
    rows = [line.split() for line in said.splitlines() if line[:1].isdigit()]
    assert sum(int(row[1]) for row in rows) == 1437
    with Image.open("digits.png") as sheet:
        assert min(sheet.size) > 400
        assert sheet.width > 1600  # two panels of eight images
    assert [path.name for path in tmp_path.iterdir()] == ["digits.png"]
    shown = Image.open("digits.png").tobytes()
    assert cli.main(["data", "show", "digits", "--augment.no-flip"]) == 0  # a default that is named: nothing changes
    with Image.open("digits.png") as sheet:
        assert sheet.tobytes() != shown
    capsys.readouterr()
    assert cli.main(["data", "prepare", "digits"]) == 0
    assert capsys.readouterr().out.startswith("digits: 10 classes; 1,293 training")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "usage: fcnn data show|prepare NAME"),
        (("shw",), "did you mean show?"),
        (("show",), "needs the NAME of a data set"),
        (("show", "digit"), "fcnn: unknown data.name 'digit'; did you mean digits?"),
        (("show", "folder:"), "needs the path of a folder"),
        (("show", "folder:nowhere"), "there is no such folder"),
        (("show", "tfds:a b"), "must look like tfds:NAME"),
        (("show", "digits", "--out", "x.jpg"), "must name a .png file"),
        (("show", "digits", "--out", "nowhere/x.png"), "there is no folder nowhere"),
        (("show", "digits", "--data.image-siz", "3"), "did you mean --data.image-size"),
        (("show", "digits", "--data.manual-dir", "x"), "data.manual-dir has no effect with digits"),
        (("show", "mnist", "--data.manual-dir", "nowhere"), "there is no folder nowhere. Put these 4 files"),
        (("show", "digits", "--augment.fli"), "did you mean --augment.flip"),
        (("show", "digits", "--augment.noise", "2"), "fcnn: augment.noise must be at least 0 and at most 1"),
        (("show", "digits", "--augment.hue", "0.1"), "augment.hue needs images of 3 channels, these have 1"),
        (("show", "digits", "--data.mean", "0.5"), "data.mean and data.std go together"),
        (("show", "digits", "--data.mean", "0.5", "0.5", "--data.std", "1", "1"), "data.mean has 2 numbers"),
    ],
)
def test_mistakes_are_answered_in_a_line_and_leave_nothing(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", *args]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert len(said.err.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def many(classes: int, channels: int = 3) -> Dataset:
    """A set with an image of a class's own gray level for each class, and one more for the first."""
    labels = np.asarray([0, *range(classes)], np.int32)
    images = np.broadcast_to(labels[:, None, None, None], (len(labels), 5, 9, channels)).astype(np.uint8)
    names = tuple(f"class\n{i}" for i in range(classes))
    split = Split(images, labels)
    return Dataset("many", names, split, split.take(labels[:0]), split)


def test_a_sheet_has_images_of_classes_spread_over_all():
    rows = pick(many(100))
    assert len(rows) == ROWS
    assert [len(images) for _, images in rows][:2] == [2, 1]
    assert rows[-1][0] == r"class\n99"
    assert (rows[-1][1] == 99).all()
    sheet = contact_sheet(many(100, channels=1), lambda key, batch: batch)
    assert sheet.height > ROWS * 96
    assert any("class\\n7 " in line for line in describe(many(9)))


def test_each_augmented_image_stands_where_its_own_does(monkeypatch):
    monkeypatch.setattr(show, "draw_panels", lambda panels: panels)
    panels: Any = contact_sheet(many(9), lambda key, batch: {**batch, "image": batch["image"] + 100})
    assert list(panels) == ["as stored", "augmented"]
    for (title, stored), (again, augmented) in zip(*panels.values(), strict=True):
        assert title == again
        assert np.array_equal(augmented, stored + 100)


def test_the_augmentation_that_is_asked_for_is_the_one_that_is_drawn(tmp_path, draw, data_folder, monkeypatch):
    """Of flat gray images: the default, a shift, gives them black edges and no other color; noise the opposite."""
    for name in ("train/a/1.png", "train/b/1.png", "test/a/2.png", "test/b/2.png"):
        draw(tmp_path / "set", name)
        Image.new("RGB", (32, 32), (200, 200, 200)).save(tmp_path / "set" / name)
    monkeypatch.chdir(tmp_path)
    black, colors = [], []
    for options in ([], ["--augment.noise", "0.1"]):
        command = ["data", "show", "folder:set", "--data.image-size", "32", "--data.val-fraction", "0", *options]
        assert cli.main(command) == 0
        with Image.open("set.png") as sheet:
            pixels = np.asarray(sheet).reshape(-1, 3)
        black.append((pixels == 0).all(-1).sum())
        colors.append(len(np.unique(pixels, axis=0)))
    assert black[0] > black[1] + 96
    assert colors[1] > colors[0] + 100


def test_panels_stand_side_by_side():
    rows = [("a", np.zeros((COLUMNS, 32, 32, 3), np.uint8)), ("b", np.full((1, 32, 32, 3), (200, 30, 99), np.uint8))]
    one, two = draw_panels({"as stored": rows}), draw_panels({"as stored": rows, "augmented": rows})
    assert two.height == one.height
    assert two.width > 1.8 * one.width
    pixels = np.asarray(two)
    assert (pixels == (200, 30, 99)).all(axis=-1).sum() == 2 * 96 * 96


def test_a_folder_is_shown_with_its_doubts(tmp_path, draw, data_folder, monkeypatch, capsys):
    draw(tmp_path / "set", *(f"a/{i}.png" for i in range(8)), "b/0.png", "b/1.png")
    (tmp_path / "set/b/bad.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "show", "folder:set/", "--data.on-bad-image", "skip"]) == 0
    said = capsys.readouterr().out
    assert "files: PNG; 32 x 24 (10)" in said
    assert "left out: b/bad.png (not an image that Pillow can read)" in said
    assert "note: the classes differ in size, from 2 (b) to 8 (a)" in said
    assert (tmp_path / "set.png").exists()
    assert load(DataConfig(name="folder:set", on_bad_image="skip")).train.images.shape[1:] == (128, 128, 3)
