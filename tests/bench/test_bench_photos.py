"""`fcnn bench photos`: everybody has the same weights and the same images, and nothing is measured twice."""

import dataclasses
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fcnn
from fcnn import cli
from fcnn.bench.photos import jax_side, measure, worker
from fcnn.bench.photos.environment import Environment, checked
from fcnn.bench.photos.images import Photos, RunPhotos, score
from fcnn.bench.photos.job import GRID, RATES, Cell, Job
from fcnn.bench.photos.process import last_line
from fcnn.bench.photos.split import identity, link_photos, split_photos, subsample
from fcnn.bench.photos.summary import summarize
from fcnn.config import Config, DataConfig
from fcnn.config.serialize import to_json
from fcnn.data import load
from fcnn.models.efficientnet_lite import EfficientNetLite
from fcnn.training.workdir import write_data
from fcnn.utils.errors import UserError

CELL = Cell(contender="torch", images_per_class=None, seed=0, minutes=0.01, images="", **GRID[0])


@pytest.fixture
def photos(tmp_path):
    """Photographs of two kinds, of which there are 20 and 30."""
    rng = np.random.default_rng(0)
    for kind, base, count in (("bright", 120, 20), ("dark", 0, 30)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(base, base + 100, (36, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def run(photos, tmp_path):
    """What the others need of an `fcnn train` on these photographs: its images, of 32 pixels, and their splits."""

    def run(val_fraction: float) -> Job:
        link_photos(photos, split_photos(photos, 0), tmp_path / "links")
        config = DataConfig(name=f"folder:{tmp_path / 'links'}", image_size=32, val_fraction=val_fraction)
        dataset = load(config)
        manifest = dataset.manifest
        assert manifest is not None
        (tmp_path / "run").mkdir()
        (tmp_path / "run/config.json").write_text(to_json(Config(data=config)))
        write_data(tmp_path / "run", dataset.facts(), manifest.to_csv())
        return Job(cell=CELL, root=str(tmp_path / "links"), run=str(tmp_path / "run"), device="cpu", began=time.time())

    return run


def files(manifest, split):
    return {(row.name, row.hash) for row in manifest.rows if row.split == split}


def test_fewer_images_are_some_of_more_and_the_test_images_stay(photos):
    whole = split_photos(photos, 1)
    assert {row.split for row in whole.rows} == {"train", "test"}
    assert [sum(row.name == kind for row in whole.rows) for kind in ("bright", "dark")] == [20, 30]
    assert len(whole.paths("test")) == 10
    five, nine = (subsample(whole, count, 1) for count in (5, 9))
    for part, count in ((five, 5), (nine, 9)):
        assert sorted(name for name, _ in files(part, "train")) == ["bright"] * count + ["dark"] * count
        assert files(part, "test") == files(whole, "test")
    assert files(five, "train") < files(nine, "train") < files(whole, "train")
    assert subsample(whole, None, 1) == whole
    assert files(subsample(whole, 5, 2), "train") != files(five, "train")
    assert len({identity(part) for part in (five, nine, whole, split_photos(photos, 0))}) == 4
    with pytest.raises(UserError, match=r"^bright has 16 training images, fewer than 17 a class$"):
        subsample(whole, 17, 1)


def test_a_run_on_the_links_has_these_images_and_the_others_read_its_splits(photos, run):
    job = run(0.1)
    images, manifest = RunPhotos(Path(job.root), Path(job.run)), split_photos(photos, 0)
    train, validation, test = (images.read(split) for split in ("train", "validation", "test"))
    assert [len(part.labels) for part in (train, validation, test)] == [36, 4, 10]
    assert images.read("train", "validation").images.shape == (40, 32, 32, 3)
    own = load(DataConfig(name=f"folder:{photos}", image_size=32, val_fraction=0.0))
    assert own.manifest == manifest
    np.testing.assert_array_equal(test.images, own.test.images)
    np.testing.assert_array_equal(test.labels, own.test.labels)
    pixels = {image.tobytes() for image in own.train.images}
    assert pixels == {image.tobytes() for image in images.read("train", "validation").images}
    assert images.read("test", size=36).images.shape[1:] == (36, 36, 3)


def test_gray_values_of_16_bits_are_read_as_the_run_measured_them(photos, run):
    for path in photos.glob("*/*.png"):
        with Image.open(path) as image:
            Image.fromarray(37 * np.asarray(image)[..., 0].astype(np.uint16)).save(path)
    job = run(0.1)
    test = RunPhotos(Path(job.root), Path(job.run)).read("test").images
    own = load(DataConfig(name=f"folder:{job.root}", image_size=32, val_fraction=0.1))
    assert own.value_range is not None
    np.testing.assert_array_equal(test, np.repeat(own.test.images, 3, axis=3))


def test_scores_are_those_of_the_package():
    logits = np.asarray([[2, 0, 0], [0, 1, 0], [0, 1, 1], [3, 0, 1]], np.float32)
    found = score(logits, np.asarray([0, 1, 1, 1]))
    assert (found["top1"], found["count"]) == (0.75, 4)  # of equal scores the first
    picked = logits[range(4), [0, 1, 1, 1]]
    assert found["loss"] == pytest.approx(np.mean(np.log(np.exp(logits).sum(1)) - picked), rel=1e-6)


class Trainings:
    """In place of the processes: remembers what was asked for."""

    def __init__(self, monkeypatch):
        self.calls: list[Any] = []
        self.stop_after: int | None = None
        self.accuracy = 0.5  # that `fcnn train` prints; a tenth is one of the test images
        self.environment = Environment(device="cpu", versions={"fcnn": "1", "jax": "2", "torch": "3"})
        monkeypatch.setattr(measure, "last_line", self)
        monkeypatch.setattr(measure, "find_environment", lambda: self.environment)
        monkeypatch.setattr(measure.zoo, "obtain", lambda entry: None)

    def __call__(self, arguments, folder):
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append(arguments)
        result = {"top1": 0.5, "loss": 1.0, "count": 10, "seconds": 2.0, "epoch": 3}
        if arguments[1] == "fcnn":
            Path(arguments[arguments.index("--workdir") + 1]).mkdir()
            result["top1"] = self.accuracy
        elif json.loads(arguments[2])["cell"]["contender"] == "torch":
            result["validation"] = {"top1": json.loads(arguments[2])["cell"]["rate"], "loss": 1.0}
        return result


def test_what_was_measured_is_not_measured_again(photos, tmp_path, monkeypatch, capsys):
    trainings = Trainings(monkeypatch)
    command = ["bench", "photos", str(photos), "--seeds", "0,1", "--images-per-class", "5,all", "--json"]
    command += ["--out", str(tmp_path / "out"), "--minutes", "2"]
    first_split, other_split = 3 + len(GRID), 3 + 1  # fcnn trains and is scored
    trainings.stop_after = first_split + 1
    with pytest.raises(KeyboardInterrupt):
        cli.main(command)
    assert len((tmp_path / "out/results.jsonl").read_text().splitlines()) == first_split - 1
    with (tmp_path / "out/results.jsonl").open("a") as file:
        file.write('{"contender": "fc')  # as a process leaves it that is killed
    (tmp_path / "out/.cache-killed/fcnn-cache").mkdir(parents=True)
    trainings.stop_after = None
    assert cli.main(command) == 0
    assert not (tmp_path / "out/.cache-killed").exists()
    once = 2 * (first_split + other_split)
    assert len(trainings.calls) == once + 1  # the one that was interrupted begins anew
    first = json.loads(capsys.readouterr().out)
    assert [(row["contender"], row["images_per_class"], row["n"]) for row in first["rows"]] == [
        (contender, size, 2) for size in (5, None) for contender in ("fcnn", "torch", "logistic regression")
    ]
    on_the_other = [cell["rate"] for cell in first["cells"] if (cell["contender"], cell["seed"]) == ("torch", 1)]
    assert on_the_other == [max(RATES)] * 2  # the best on validation, as `Trainings` has it
    assert cli.main(command) == 0
    assert len(trainings.calls) == once + 1
    assert json.loads(capsys.readouterr().out) == first
    assert cli.main([*command[:-1], "3"]) == 0  # other minutes
    Image.new("RGB", (40, 36)).save(photos / "dark/new.png")  # other images
    assert cli.main(command) == 0
    assert len(trainings.calls) == 3 * once + 1


def test_cells_of_other_versions_are_measured_again(photos, tmp_path, monkeypatch, capsys):
    trainings = Trainings(monkeypatch)
    command = ["bench", "photos", str(photos), "--seeds", "0", "--images-per-class", "all"]
    command += ["--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    before = len(trainings.calls)
    old = trainings.environment
    trainings.environment = dataclasses.replace(old, versions=old.versions | {"torch": "3.1"})
    capsys.readouterr()
    assert cli.main(command) == 0
    assert len(trainings.calls) == before + len(GRID)  # only PyTorch's
    assert capsys.readouterr().err.count("measured before, and now again: torch was 3 and is 3.1\n") == len(GRID)
    trainings.environment = dataclasses.replace(old, versions=old.versions | {"fcnn": "1.1"})
    assert cli.main(command) == 0
    assert len(trainings.calls) == 2 * before + len(GRID)
    trainings.environment = old
    assert cli.main(command) == 0
    assert len(trainings.calls) == 2 * before + len(GRID)
    records = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert (records[0]["versions"], records[-1]["versions"]["fcnn"]) == (old.versions, "1.1")


def test_a_run_and_its_network_may_differ_by_two_images(photos, tmp_path, monkeypatch, capsys):
    trainings = Trainings(monkeypatch)
    command = ["bench", "photos", str(photos), "--seeds", "0", "--images-per-class", "all"]
    trainings.accuracy = 0.7000001  # as float32 has it
    assert cli.main([*command, "--out", str(tmp_path / "two")]) == 0
    trainings.accuracy = 0.8
    capsys.readouterr()
    assert cli.main([*command, "--out", str(tmp_path / "three")]) == 2
    assert "model.safetensors gets 0.5000 of the test images, the run 0.8" in capsys.readouterr().err


def test_seeds_of_a_folder_with_test_images_of_its_own_have_a_run_each(photos, tmp_path, monkeypatch, capsys):
    shutil.copytree(photos, tmp_path / "own/train")
    for split, count in (("val", 3), ("test", 5)):
        for path in [
            p for kind in ("bright", "dark") for p in sorted((tmp_path / "own/train" / kind).glob("*"))[:count]
        ]:
            place = tmp_path / "own" / split / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    trainings = Trainings(monkeypatch)
    options = ["--seeds", "0,1", "--images-per-class", "all", "--out", str(tmp_path / "out")]
    assert cli.main(["bench", "photos", str(tmp_path / "own"), *options]) == 0
    assert "test images of its own, the same for all seeds" in capsys.readouterr().err
    runs = {arguments[arguments.index("--workdir") + 1] for arguments in trainings.calls if arguments[1] == "fcnn"}
    assert len(runs) == 2
    assert all(Path(run).is_dir() for run in runs)
    (links,) = (path for path in (tmp_path / "out").glob("images-*"))
    assert len([*links.glob("train/*/*")]) == 40  # of its own validation images too
    assert len([*links.glob("test/*/*")]) == 10


def test_pytorch_trains_where_jax_does_or_is_refused():
    versions = {"fcnn": "1", "jax": "2", "torch": "3"}
    for device, cuda in (("cpu", False), ("cpu", True), ("gpu", True)):
        assert checked(environment := Environment(device=device, versions=versions), cuda) == environment
    for device, cuda in (("gpu", False), ("tpu", True)):
        with pytest.raises(UserError, match=f"^JAX trains on a {device.upper()}, which this PyTorch can't use"):
            checked(Environment(device=device, versions=versions), cuda)


def test_each_process_has_caches_of_its_own(photos, tmp_path):
    script = (
        "import json, os, sys; from fcnn.config import DataConfig; from fcnn.data import load; "
        "from fcnn.data.cache import cache_dir; empty = not cache_dir().exists(); "
        "load(DataConfig(name='folder:' + sys.argv[1], image_size=32)); "
        "print(json.dumps({'empty': empty, 'cache': str(cache_dir()), 'kept': len(list(cache_dir().rglob('*.npy'))), "
        "'compiled': os.environ['JAX_COMPILATION_CACHE_DIR']}))"
    )
    first, second = (last_line(["-c", script, str(photos)], tmp_path) for _ in range(2))
    for found in (first, second):
        assert found["empty"]
        assert found["kept"] > 0
        assert Path(found["compiled"]).parent == Path(found["cache"]).parent
        assert not Path(found["cache"]).parent.exists()
    assert first["cache"] != second["cache"]


def test_pytorch_is_left_out_where_it_is_not_installed(photos, tmp_path, monkeypatch, capsys):
    Trainings(monkeypatch).environment = Environment(device="gpu", versions={"fcnn": "1", "jax": "2"})
    options = ["--seeds", "0", "--images-per-class", "all", "--out", str(tmp_path / "out")]
    assert cli.main(["bench", "photos", str(photos), *options]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "10 minutes were allowed for each training"  # the seconds say who kept to it
    assert last == "PyTorch is not installed: no comparison"
    assert lines[-1].split() == ["all", "logistic", "regression", "50.0", "+-", "0.0", "%", "1", "2"]


def test_of_pytorchs_grid_the_point_counts_that_is_best_on_validation():
    def record(seed: int, rate: float, top1: float, validation: float, loss: float) -> dict[str, Any]:
        cell = dataclasses.replace(CELL, seed=seed, rate=rate, freeze_batch_norm=True)
        found = {"top1": top1, "seconds": 10.0 * rate, "validation": {"top1": validation, "loss": loss}}
        return dataclasses.asdict(cell) | found

    points = [(1, 0.9, 0.5, 0.1), (2, 0.7, 0.6, 0.2), (3, 0.8, 0.6, 0.1)]
    records = [*(record(0, *point) for point in points), record(1, 3, 0.6, 0.1, 9.0)]
    (row,) = summarize(records)
    assert (row["rate"], row["n"], row["seconds"]) == (3, 2, 30)
    assert row["grid"] == {"points": 3, "seconds": 60, "worst": 0.7, "best": 0.9}
    assert row["mean"] == pytest.approx(0.7)
    assert row["std"] == pytest.approx(0.2 / 2**0.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["PHOTOS", "--images-per-class", "10,0"], "like 10,50,all; got '10,0'"),
        (["PHOTOS", "--images-per-class", "all,4"], "must be 5 or more, for 5-fold cross-validation; got 'all,4'"),
        (["PHOTOS", "--images-per-class", "10,17"], "bright has 16 training images, fewer than 17 a class"),
        (["PHOTOS", "--minutes", "0"], "--minutes must be above 0, got 0"),
        (["PHOTOS", "--seeds", "0,0"], "--seeds names a seed twice: 0,0"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(options, words, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Trainings(monkeypatch)
    options = [str(photos) if option == "PHOTOS" else option for option in options]
    assert cli.main(["bench", "photos", *options]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert words in told
    assert not (tmp_path / "benchmarks").exists()


def test_logistic_regression_on_a_networks_features(run, monkeypatch):
    monkeypatch.setattr(jax_side, "WEIGHTS", "cifar10_resnet20")
    found = jax_side.logistic_regression(run(0.0))
    assert (found["top1"], found["count"]) == (1.0, 10)  # bright and dark
    assert 0 < found["seconds"] < 60


@pytest.fixture
def loop(monkeypatch):
    """PyTorch's loop, on one thread: on a busy machine several would wait for each other."""
    loop = pytest.importorskip("fcnn.bench.photos.torch_loop", exc_type=ImportError, reason="needs PyTorch")
    monkeypatch.setattr(loop, "cores", lambda: 1)
    loop.torch.set_num_threads(1)
    return loop


def test_pytorchs_network_is_ours():
    torch_lite0 = pytest.importorskip("fcnn.bench.photos.torch_lite0", exc_type=ImportError, reason="needs PyTorch")
    import torch

    network, images = fcnn.load("efficientnet_lite0"), np.random.default_rng(0).integers(0, 256, (2, 45, 32, 3))
    with torch.no_grad():
        pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - torch_lite0.MEAN) / torch_lite0.STD
        logits = torch_lite0.pretrained().eval()(pixels).numpy()
    ours = network.apply(network.variables, network.preprocess(images.astype(np.uint8)))
    np.testing.assert_allclose(logits, np.asarray(ours), atol=1e-4)


def test_pytorchs_network_is_trained_as_ours():
    torch_lite0 = pytest.importorskip("fcnn.bench.photos.torch_lite0", exc_type=ImportError, reason="needs PyTorch")
    ours, network = fcnn.create_model("efficientnet_lite0"), torch_lite0.Lite0(2)
    assert isinstance(ours, EfficientNetLite)
    norms = [module for module in network.modules() if hasattr(module, "running_mean")]
    assert {norm.momentum for norm in norms} == {round(1 - ours.momentum, 6)}
    (dropout,) = [module for module in network.modules() if type(module).__name__ == "Dropout"]
    assert dropout.p == ours.paper_dropout


def test_measuring_pytorchs_step_does_not_change_the_training(loop):
    images, labels = np.random.default_rng(0).integers(0, 256, (8, 36, 36, 3), np.uint8), np.arange(8) % 2
    weights = []
    for measured in (False, True):
        training = loop.Training(Photos(images[:, :32, :32], labels), Photos(images, labels), 2, seed=3)
        if measured:
            assert training.seconds_per_step(False) > 0
        training.fit(1, 1e-3, False)
        weights.append(training.model.state_dict())
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])


def test_beside_pytorch_jax_leaves_the_gpu_alone(loop, run, monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(loop, "fine_tune", lambda job: {"minutes": job.cell.minutes, "on": os.environ["JAX_PLATFORMS"]})
    monkeypatch.setattr(sys, "argv", ["worker", json.dumps(dataclasses.asdict(run(0.1)))])
    worker.main()
    assert json.loads(capsys.readouterr().out) == {"minutes": CELL.minutes, "on": "cpu"}


@pytest.mark.parametrize("val_fraction", [0.1, 0.0])
def test_pytorchs_loop_learns(val_fraction, run, loop, monkeypatch):
    monkeypatch.setattr(loop, "MOST_EPOCHS", 3.0)
    job = run(val_fraction)
    job = dataclasses.replace(job, cell=dataclasses.replace(job.cell, minutes=1.0))
    found = loop.fine_tune(job)
    assert (found["top1"], found["count"], found["steps"]) == (1.0, 10, 3)
    assert found["validation"]["count"] == (4 if val_fraction else 8)
