"""`fcnn bench data`: what is measured is what is told, and the slower of feed and step is named."""

import json

import pytest
from PIL import Image

from fcnn import cli
from fcnn.bench import folder, resident
from fcnn.bench.folder import make_folder, measure_folder, readable
from fcnn.bench.job import Job
from fcnn.cli import bench_data
from fcnn.config import AugmentConfig, Config, ModelConfig, TrainConfig

CONFIG = Config(
    augment=AugmentConfig(crop_padding=4, flip=True),
    model=ModelConfig(name="linear"),
    train=TrainConfig(batch_size=16),
)
JOB = Job(model="linear", batch=4, image_size=32)


def quiet(text: str) -> None:
    """Says nothing."""


def test_steps_that_are_fed_and_augmented_beside_bare_ones(monkeypatch):
    """By a clock of ours: bare steps take 2 s, fed ones 3, 2 and 5 s and twice the CPU time."""
    walls = iter([2, 2, 3, 2, 2, 2, 5])  # the first one decides how many steps make a turn
    steps = []

    def timed(run, count):
        run(count)
        steps.append(count)
        wall = float(next(walls))
        return {"wall": wall, "cpu": 1.0 if len(steps) % 2 == 0 else 2.0}

    monkeypatch.setattr(resident, "_timed", timed)
    found = resident.measure_resident(CONFIG, (64, 8, 8, 3), rounds=3, log=quiet, seconds=6.0)
    assert (found["model"], found["images"], found["image_size"], found["rounds"]) == ("linear", 64, 8, 3)
    assert steps == [1] + 6 * [3]
    assert found["bare"] == {"wall": 2.0, "cpu": 1.0, "images_per_second": 8.0}
    assert found["pipeline"] == {"wall": 3.0, "cpu": 2.0, "images_per_second": 16 / 3}
    assert found["added"] == {"wall": 0.5, "cpu": 1.0}
    assert found["first_batch_seconds"] > 0


@pytest.mark.parametrize("torch", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_files_are_read_cut_and_counted(torch, tmp_path, monkeypatch):
    if torch:
        pytest.importorskip("torch", reason="PyTorch, whose loader is the other side, isn't installed")
    else:
        monkeypatch.setattr(folder, "_torch_loader", lambda *_: None)
    root = tmp_path / "jpegs"
    names = make_folder(root, 14)
    for name in names:
        with Image.open(root / name) as image:
            assert 256 <= min(image.size) <= max(image.size) <= 500
    found = measure_folder(root, names, JOB, rounds=2, workers=1, log=quiet)
    assert (found["images"], found["workers"], found["rounds"], found["batch"]) == (14, 1, 2, 4)
    assert found["fcnn"] > 0 < found["step"]
    assert (found["torch"] is not None) == (found["ratio"] is not None) == torch
    if torch:
        assert found["ratio"] == pytest.approx(found["fcnn"] / found["torch"], rel=0.5)
    (root / "more").mkdir()
    (root / "more/UPPER.JPEG").write_bytes((root / names[0]).read_bytes())
    (root / names[1]).write_bytes(b"broken")
    assert readable(root, 14) == [names[0], *names[2:], "more/UPPER.JPEG"]


FILES = {
    **{"images": 1000, "image_size": 224, "batch": 32, "workers": 2, "rounds": 5, "model": "resnet18"},
    **{"fcnn": 300.0, "torch": 200.0, "step": 20.0, "ratio": 1.5, "first_batch_seconds": 0.25},
}
STEPS = {"wall": 0.25, "cpu": 0.5, "images_per_second": 512.0}
RESIDENT = {
    **{
        "model": "resnet20",
        "images": 50_000,
        "image_size": 32,
        "batch": 128,
        "rounds": 5,
        "bare": STEPS,
        "pipeline": STEPS,
    },
    **{"added": {"wall": 0.021, "cpu": 0.004}, "first_batch_seconds": 0.5},
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "Compute-bound; first batch after 0.25 s"),
        ({"step": 301.0}, "Input-bound; first batch after 0.25 s"),
        ({}, "fcnn is faster by 1.50"),
        ({"torch": None, "ratio": None}, "PyTorch is not installed"),
    ],
)
def test_what_is_told(changed, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fcnn.bench.resident.measure_resident", lambda *_, **__: RESIDENT)
    monkeypatch.setattr("fcnn.bench.folder.measure_folder", lambda *_, **__: FILES | changed)
    monkeypatch.setattr(bench_data, "FILES", 2)
    assert cli.main(["bench", "data"]) == 0
    said = capsys.readouterr().out
    assert words in said
    assert "The input pipeline adds 2.1% to the step (0.4% of CPU time); first batch after 0.50 s" in said
    assert cli.main(["bench", "data", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"device": RESIDENT, "files": FILES | changed}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nowhere",), "there is no folder nowhere"),
        (("folder:nowhere",), "there is no folder nowhere"),
        (("folder:.",), "has 0 JPEGs that can be read; measuring takes at least 64"),
        (("--rounds", "0"), "--rounds must be at least 1"),
    ],
)
def test_mistakes_are_answered_in_a_line(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "data", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
