"""The files of a run: what is written reads back, and evaluation and resuming use exactly those."""

import csv
import dataclasses
import os
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import pixels
from PIL import Image

from fcnn import cli
from fcnn.analysis import show
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig, TransferConfig
from fcnn.data.manifest import SPLITS, UNUSED, Manifest, Row, compare
from fcnn.data.parallel import no_progress
from fcnn.data.scan import scan
from fcnn.report import Console
from fcnn.training import evaluate, trainer, workdir
from fcnn.utils.errors import UserError

NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00/"), min_size=1, max_size=8),
    st.binary(min_size=1, max_size=8).map(lambda b: os.fsdecode(b.replace(b"\0", b"").replace(b"/", b"") or b"x")),
)


def rows_in(*splits):
    row = st.builds(Row, st.sampled_from(splits), NAMES, NAMES, st.text("0123456789abcdef", max_size=8))
    return st.lists(row, max_size=8).map(tuple)


@given(st.builds(Manifest, rows_in(*SPLITS, UNUSED), rows_in(*SPLITS)))
def test_any_names_come_back(manifest):
    assert Manifest.from_csv(manifest.to_csv(), "here") == manifest


def test_files_that_changed_places_are_seen(tmp_path):
    """Even with equal sizes and times, as unpacking leaves them."""
    paths = ["a.bmp", "b.bmp"]
    for i, path in enumerate(paths):
        Image.fromarray(pixels(i)).save(tmp_path / path)
        os.utime(tmp_path / path, (1e9, 1e9))
    first, second = (seen.sha for seen in scan(tmp_path, paths, no_progress))
    for old, new in (("a.bmp", "c"), ("b.bmp", "a.bmp"), ("c", "b.bmp")):
        (tmp_path / old).rename(tmp_path / new)
    assert [seen.sha for seen in scan(tmp_path, paths, no_progress)] == [second, first]


@pytest.mark.parametrize("text", [b"", b"<html>", b"split,class,path,hash\na,b\n", b"split,class,path,hash\nx,a,b,c\n"])
def test_a_damaged_file_is_named(text):
    with pytest.raises(UserError, match=r"^splits\.csv is damaged"):
        Manifest.from_csv(text, "splits.csv")


@given(st.dictionaries(st.text("abc", min_size=1), st.sampled_from("12")), st.data())
def test_what_differs_is_exactly_that(hashes, data):
    """Against sets: each path is in one kind at most, and in none if it is the same on both sides."""
    before = data.draw(st.dictionaries(st.text("abc", min_size=1), st.sampled_from("12")))
    changes = compare(Manifest(tuple(Row("train", "a", p, h) for p, h in before.items())), hashes)
    assert set(changes.missing) == set(before) - set(hashes)
    assert set(changes.new) == set(hashes) - set(before)
    assert set(changes.changed) == {p for p, h in before.items() if p in hashes and hashes[p] != h}
    assert bool(changes) == (before != hashes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a folder of 60, cut by us."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(root / "data"))
        for i in range(60):
            path = root / "photos" / "ab"[i % 2] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(i, 8, 8)).save(path)
        patch.chdir(root)
        data = DataConfig(name="folder:photos", image_size=8)
        train = TrainConfig(steps=4, batch_size=8, eval_batch_size=8)
        config = Config(data=data, model=ModelConfig(name="linear"), train=train)
        tested = trainer.train(config, root / "run", Console())
    return root, config, tested


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of it to change, its data where the run says that they are; the folder, the config, the test record."""
    root, config, tested = trained
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    for name in ("photos", "run"):
        shutil.copytree(root / name, tmp_path / name)
    text = (tmp_path / "run/config.json").read_text()
    (tmp_path / "run/config.json").write_text(text.replace(str(root), str(tmp_path)))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, name=f"folder:{tmp_path / 'photos'}"))
    monkeypatch.chdir(tmp_path)
    return tmp_path, config, tested


def rows(root):
    with (root / "run/splits.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files(root, split):
    return [row["path"] for row in rows(root) if row["split"] == split]


NUMBERS = ("loss", "top1", "top5", "count", "recall")


def test_the_run_keeps_which_files_are_in_which_split(run):
    root, _, tested = run
    assert {split: len(files(root, split)) for split in SPLITS} == {"train": 43, "validation": 5, "test": 12}
    assert tested["count"] == 12
    listed = sorted(path for split in SPLITS for path in files(root, split))
    assert listed == sorted(str(p.relative_to(root / "photos")) for p in (root / "photos").rglob("*.png"))
    assert all(row["path"].startswith(row["class"] + "/") for row in rows(root))


def test_new_files_are_not_evaluated_and_said(run, capsys):
    """Without the list, the splits were cut anew: up to all 12 "test" images had been trained on."""
    root, _, tested = run
    Image.fromarray(pixels(99, 8, 8)).save(root / "photos/a/05b.png")
    (root / "photos/c").mkdir()
    Image.fromarray(pixels(98, 8, 8)).save(root / "photos/c/color.png")
    (root / "photos/a/bad.png").write_bytes(b"x")
    found = evaluate.evaluate(root / "run", "test", Console())
    assert [found[name] for name in NUMBERS] == [tested[name] for name in NUMBERS]
    said = capsys.readouterr().out
    assert "2 new (a/05b.png, c/color.png). None of these is used." in said


def test_missing_and_changed_files_are_left_out_and_counted(run, capsys):
    root, _, _ = run
    gone, other, train = *files(root, "test")[:2], files(root, "train")[0]
    for path in (gone, *files(root, "train")[1:4]):
        (root / "photos" / path).unlink()
    Image.fromarray(pixels(99, 8, 8)).save(root / "photos" / other)
    (root / "photos" / train).write_bytes(b"no longer an image")
    found = evaluate.evaluate(root / "run", "test", Console())
    assert found["count"] == sum(found["images"].values()) == 10
    assert found["epoch"] == 4 / 5  # of the run's 43 images, not of those that are left
    said = capsys.readouterr().out
    assert re.search(rf"4 missing \(.*{files(root, 'train')[1]}.*\); 2 changed \({train}, {other}\)", said)
    assert "what is left of the run's: train 39 of 43, validation 5 of 5, test 10 of 12 images" in said
    for path in files(root, "test"):
        (root / "photos" / path).unlink(missing_ok=True)
    with pytest.raises(UserError, match="has none of its 12 test images left"):
        evaluate.evaluate(root / "run", "test", Console())


def test_a_run_goes_on_with_the_same_files_alone(run):
    """Swapped files at equal counts, too, are other data."""
    root, config, _ = run
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=6))
    first, second = (root / "photos" / path for path in files(root, "train")[:2])
    kept = first.read_bytes()
    for change, words in (
        (lambda: first.write_bytes(second.read_bytes()), f"1 changed \\({first.relative_to(root / 'photos')}\\)"),
        (lambda: first.rename(first.with_name("x.png")), f"1 missing \\(.*{first.name}\\); 1 new \\(.*x.png\\)"),
    ):
        change()
        with pytest.raises(UserError, match=f"no longer those that the run began with: {words}"):
            trainer.train(longer, root / "run", Console())
        first.write_bytes(kept)
    first.with_name("x.png").unlink()
    before = (root / "run/splits.csv").read_bytes()
    assert trainer.train(longer, root / "run", Console())["step"] == 6
    assert (root / "run/splits.csv").read_bytes() == before


def test_it_is_the_same_run_from_anywhere(run, monkeypatch, capsys):
    root, config, tested = run
    (root / "link").symlink_to(root / "photos")
    (root / "elsewhere").mkdir()
    for place, name in ((".", "photos"), (".", "./photos/"), (".", "link"), ("elsewhere", "../photos")):
        monkeypatch.chdir(root / place)
        here = dataclasses.replace(config, data=dataclasses.replace(config.data, name=f"folder:{name}"))
        assert trainer.train(here, root / "run", Console()) == tested
    assert f'"name": "folder:{root / "photos"}"' in (root / "run/config.json").read_text()
    assert evaluate.evaluate(root / "run", "test", Console())["loss"] == tested["loss"]


def test_every_path_of_a_config_is_kept_absolute(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    config = Config(data=DataConfig(name="mnist", manual_dir="link/x"), transfer=TransferConfig(weights="runs/a"))
    found = workdir.resolved(config)
    assert found.data.manual_dir == str(tmp_path / "real/x")
    assert found.transfer.weights == str(tmp_path / "runs/a")
    zoo = dataclasses.replace(config, transfer=TransferConfig(weights="cifar10_resnet20"))
    assert workdir.resolved(zoo).transfer.weights == "cifar10_resnet20"
    assert workdir.resolved(found) == found


def test_moved_images_can_be_named(run, monkeypatch, capsys):
    root, config, tested = run
    (root / "photos").rename(root / "moved")
    assert cli.main(["evaluate", "run"]) == 2
    assert "are no longer in" in (said := capsys.readouterr().err)
    assert "pass their new place with --data.name folder:PATH" in said
    assert cli.main(["evaluate", "run", "--data.name", "folder:moved"]) == 0
    assert f"top-1 {100 * tested['top1']:.2f} %" in capsys.readouterr().out
    monkeypatch.setattr(show, "draw_figures", lambda setup, *_: iter([print(setup.dataset.name)][1:]))
    assert cli.main(["show", "run", "--data.name", "folder:moved"]) == 0
    assert f"folder:{root / 'moved'}" in capsys.readouterr().out
    moved = dataclasses.replace(config, data=dataclasses.replace(config.data, name="folder:moved"))
    assert trainer.train(moved, root / "run", Console()) == tested
    shutil.copytree(root / "moved/a", root / "other/x")
    shutil.copytree(root / "moved/b", root / "other/y")
    assert cli.main(["show", "run", "--data.name", "folder:other"]) == 2
    assert "none of the run's 60 files is in" in capsys.readouterr().err
