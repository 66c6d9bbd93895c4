"""`data.corrections`: labels that a list changes, images that it leaves out, and what a run remembers of it."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from fcnn import cli
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig
from fcnn.config.serialize import from_json
from fcnn.data import load
from fcnn.data.corrections import correct, read_corrections
from fcnn.data.layout import read_layout
from fcnn.data.manifest import UNUSED, Manifest
from fcnn.report import Console
from fcnn.training import evaluate, trainer
from fcnn.training.workdir import resolved
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable


@pytest.fixture
def folder(tmp_path, draw, data_folder):
    """Ten images of each of two classes."""
    draw(tmp_path / "set", *(f"{name}/{i}.png" for name in "ab" for i in range(10)))
    return tmp_path / "set"


def write(path: Path, *rows: tuple[str, ...], head: tuple[str, ...] = ("path", "label")) -> str:
    """A CSV; bytes of a name that aren't text stay as they are."""
    with path.open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


def labels(config: DataConfig) -> dict[str, str]:
    """What each file that is used counts as."""
    dataset = load(config)
    assert dataset.manifest is not None
    by_row = {row.path: row.name for row in dataset.manifest.rows if row.split != UNUSED}
    for split in ("train", "validation", "test"):
        part = getattr(dataset, split)
        by_label = dict(zip(dataset.manifest.paths(split), (dataset.classes[i] for i in part.labels), strict=True))
        assert by_label == {path: by_row[path] for path in by_label}  # what is stored is what is learned
    return by_row


def test_a_list_changes_labels_and_leaves_images_out(folder, tmp_path):
    before = labels(DataConfig(name=f"folder:{folder}", image_size=8))
    file = write(tmp_path / "one.csv", ("a/1.png", "b"))  # the pixels are now in the cache, with the labels before
    assert labels(DataConfig(name=f"folder:{folder}", image_size=8, corrections=file)) == before | {"a/1.png": "b"}
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    rows = [("label", "a/1.png", "b"), ("label", "b/2.png", "a"), ("blurred", "a/3.png", ""), ("odd", "b/4.png", "-")]
    file = write(tmp_path / "f.csv", *rows, ("odd", "a/5.png", "a"), head=("issue", "path", "label"))
    config = DataConfig(name=f"folder:{folder}", image_size=8, corrections=file)
    expected = before | {"a/1.png": "b", "b/2.png": "a"}
    assert labels(config) == {k: v for k, v in expected.items() if k not in ("a/3.png", "b/4.png")}
    assert f"{file} corrects the labels of 2 images and leaves out 2" in load(config).notes
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


def test_a_file_that_can_not_be_read_is_left_out_by_name(folder, tmp_path):
    (folder / "a/bad.png").write_bytes(b"x")
    (folder / "a/link.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"can't be used: a/bad\.png"):
        load(DataConfig(name=f"folder:{folder}"))
    file = write(tmp_path / "f.csv", ("a/bad.png", ""), ("a/link.png", "-"))
    assert load(DataConfig(name=f"folder:{folder}", corrections=file)).skipped == ()


ODD = ["a/x,'\"<b>.png", "a/two\nlines.png", "a/caf\udce9.png", "a/ü.png"]


@pytest.mark.parametrize("as_printed", [False, True])
def test_odd_names(folder, tmp_path, as_printed):
    for name in ODD:
        shutil.copy(folder / "b/0.png", os.fsencode(folder / name))
    file = write(tmp_path / "f.csv", *((printable(name) if as_printed else name, "b") for name in ODD))
    layout = correct(read_layout(folder), file).layout
    assert {entry.path for entry in layout.entries if entry.name == "b" and entry.path.startswith("a/")} == set(ODD)


def test_spreadsheets_write_other_signs(tmp_path):
    path = tmp_path / "f.csv"
    path.write_bytes("\ufeffpath;label;score\r\na/1.png;b;0,5\r\n".encode())
    assert read_corrections(str(path)) == [("a/1.png", "b")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label\na/99.png,b\nb/x.png,a\na/1.png,b\n", "2 paths that {set} doesn't have: a/99.png, b/x.png\n"),
        ("path,label\na/1.png,c\na/2.png,B\n", "2 classes that {set} doesn't have: c, B\nCorrect the file: they"),
        ("path,label\na/1.png,a\na/1.png,b\n", "1 paths with two labels: a/1.png\n"),
        ("path,label\na/1.png\n", "1 lines without a label: a/1.png"),
        ("path,correct\na/1.png,b\n", "no column label\n"),
        ("", "no column path and no column label\n"),
        (None, "can't be read: No such file"),
    ],
)
def test_what_is_wrong_with_a_list(folder, tmp_path, content, words):
    path = tmp_path / "list.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as error:
        load(DataConfig(name=f"folder:{folder}", corrections=str(path)))
    assert words.format(set=folder) in str(error.value)
    assert "list.csv" in str(error.value)
    assert str(error.value).count("\n") <= 1


def test_it_belongs_to_folders():
    with pytest.raises(ValueError, match=r"data\.corrections has no effect with digits; it belongs to folder:"):
        DataConfig(corrections="x.csv")


def config(folder: Path, file: str, steps: int) -> Config:
    data = DataConfig(name=f"folder:{folder}", image_size=8, val_fraction=0.2, corrections=file)
    train = TrainConfig(steps=steps, batch_size=4, eval_batch_size=8)
    return Config(data=data, model=ModelConfig(name="linear"), train=train)


def test_a_run_remembers_its_labels(folder, tmp_path):
    file, run = write(tmp_path / "f.csv", ("a/1.png", "b"), ("b/2.png", "")), tmp_path / "run"
    tested = trainer.train(config(folder, file, 4), run, Console())
    rows = {row.path: row for row in Manifest.from_csv((run / "splits.csv").read_bytes(), "").rows}
    assert (rows["a/1.png"].name, rows["b/2.png"].split) == ("b", UNUSED)
    assert f"{file} corrects" in json.loads((run / "data.json").read_text())["notes"][0]
    assert trainer.train(config(folder, file, 8), run, Console())["count"] == tested["count"]
    # A line that changes nothing makes no difference, others do.
    write(tmp_path / "f.csv", ("a/1.png", "b"), ("b/2.png", ""), ("b/3.png", "b"))
    trainer.train(config(folder, file, 12), run, Console())
    for rows in ([("a/1.png", "b"), ("b/2.png", "-"), ("a/4.png", "b")], [("b/2.png", "-")]):
        write(tmp_path / "f.csv", *rows)
        with pytest.raises(UserError, match=r"f\.csv no longer gives 1 images the labels that the run began with: a/"):
            trainer.train(config(folder, file, 16), run, Console())
    # Whoever evaluates needs no list.
    Path(file).unlink()
    again = evaluate.evaluate(run, "train", Console())
    assert again["images"] == {
        name: sum(row.name == name and row.split == "train" for row in rows_of(run)) for name in "ab"
    }
    with pytest.raises(UserError, match=r"f\.csv can't be read"):
        trainer.train(config(folder, file, 16), run, Console())


def rows_of(run: Path):
    return Manifest.from_csv((run / "splits.csv").read_bytes(), "").rows


def test_a_run_finds_its_list_from_another_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "f.csv", ("a/1.png", "b"))
    assert resolved(config(folder, "f.csv", 1)).data.corrections == str(tmp_path / "f.csv")


def test_on_the_command_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "f.csv", ("a/1.png", "b"), ("b/2.png", ""))
    small = ["--config", "resnet", "--model.name", "linear", "--train.epochs", "1", "--train.batch-size", "4"]
    data = ["--data.name", "folder:set", "--data.image-size", "8", "--data.corrections", "f.csv"]
    assert cli.main(["train", *small, *data, "--workdir", "run"]) == 0
    assert "Note: f.csv corrects" in capsys.readouterr().out.replace(f"{tmp_path}/", "")
    assert from_json(Path("run/config.json").read_text(), "").data.corrections == str(tmp_path / "f.csv")
    assert cli.main(["evaluate", "run", "--json"]) == 0
    write(tmp_path / "f.csv", ("a/1.png", "c"))
    assert cli.main(["train", *small, *data, "--workdir", "other"]) == 2
    said = capsys.readouterr().err
    assert "f.csv has 1 classes that" in said
    assert said.count("\n") == 2
    assert not Path("other").exists() or not any(Path("other").iterdir())
