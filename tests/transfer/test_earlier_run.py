"""`fcnn train PHOTOS --from RUN`: what a run keeps of an earlier one, and what it says about both."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from harness import comparable, random_network
from PIL import Image

import fcnn
from fcnn import cli
from fcnn.config import Config, DataConfig, TransferConfig
from fcnn.config.serialize import to_json
from fcnn.data import load
from fcnn.data.manifest import Manifest
from fcnn.report import Console
from fcnn.training import trainer
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.pretrained import load_network
from fcnn.training.run_data import build
from fcnn.training.start import start_state
from fcnn.training.workdir import read_config
from fcnn.transfer import auto
from fcnn.transfer.earlier import check_untrained, options_from
from fcnn.weights import write_network

SMALL = ["--transfer.weights", "small.safetensors"]


def draw(root, *kinds, count=40):
    """Noise of a brightness of its own for each class."""
    rng = np.random.default_rng(len(kinds))
    for kind in kinds:
        (root / kind).mkdir(parents=True)
        low = {"dark": 0, "gray": 70, "bright": 140}[kind]
        for i in range(count):
            Image.fromarray(rng.integers(low, low + 100, (12, 16, 3)).astype(np.uint8)).save(root / kind / f"{i}.png")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run that has fine-tuned a small network."""
    folder = tmp_path_factory.mktemp("earlier")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw(folder / "photos", "bright", "dark")
        write_network(Path("small.safetensors"), random_network("lenet5", size=16, norm="batch", width_multiplier=0.5))
        full = ["--transfer.strategy", "full", "--train.epochs", "1", "--optim.learning-rate", "0.003"]
        assert cli.main(["train", "photos", *SMALL, *full, "--workdir", "full"]) == 0
    return folder


@pytest.fixture
def place(earlier, tmp_path, monkeypatch):
    shutil.copytree(earlier, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def splits(run):
    return {row.hash: row.split for row in Manifest.from_csv((Path(run) / "splits.csv").read_bytes(), "").rows}


def test_a_class_is_added_and_the_rest_is_kept(place, capsys):
    draw(place / "photos", "gray")
    (place / "photos/dark/0.png").rename(place / "photos/bright/was dark.png")
    assert cli.main(["train", "photos", "--from", "full", "--train.epochs", "1", "--workdir", "new", "--json"]) == 0
    told, err = capsys.readouterr()
    record = json.loads(told)
    for words in (
        "the network of the earlier run",
        "Strategy full: all layers are fine-tuned from the network of the earlier run.",
        "The head keeps 2 of the weights' 2 classes and has 1 new: gray. New rows: logistic regression",
        "Note: since full: 40 added, 1 with another label (bright/was dark.png was dark)",
        "Note: classes that are new: gray",
        "New classes: gray.",
    ):
        assert words in err, words
    assert "Linear probe" not in err  # its features have seen the images
    before, after, config = splits("full"), splits("new"), read_config(Path("new"))
    assert {one: after[one] for one in before} == before
    assert (config.data.image_size, config.transfer.head_init) == (32, "extend")
    # The start is the earlier network, its rows by name, with one more.
    setup = build(config, Console(quiet=True), Path("new"))
    start, old = start_state(setup, lambda _: None).variables, load_network("full")
    heads = [variables["params"]["head"]["kernel"] for variables in (start, old.variables)]
    assert (setup.dataset.classes, old.info.classes) == (("bright", "dark", "gray"), ("bright", "dark"))
    np.testing.assert_array_equal(heads[0][..., :2], heads[1])
    # Both networks on the same files, by another way.
    rows = [row for row in Manifest.from_csv(Path("new/splits.csv").read_bytes(), "").rows if row.split == "test"]
    names = [row.name for row in rows]
    for name, run in (("before", "full"), ("now", "new")):
        network = fcnn.load(run)
        answers = network.predict([Path("photos") / row.path for row in rows]).argmax(axis=1)
        right = np.asarray([network.classes[i] == name for i, name in zip(answers, names, strict=True)])
        shared = np.asarray([row.hash in before for row in rows], bool)
        assert record["earlier"]["all"][name] == pytest.approx(right.mean())
        assert record["earlier"]["shared"][name] == pytest.approx(right[shared].mean())
        assert record["earlier"]["shared"]["count"] == sum(split == "test" for split in before.values())
    assert record["earlier"]["all"]["before"] < 0.8 < record["earlier"]["all"]["now"] == record["top1"]


@pytest.mark.parametrize("weights", ["full", "full/model.safetensors"])
def test_images_that_the_weights_learned_from_do_not_test_them(place, capsys, weights):
    count = sum(split == "train" for split in splits("full").values())
    assert cli.main(["train", "photos", "--transfer.weights", weights]) == 2
    assert f"full was trained on {count} of these images" in capsys.readouterr().err
    assert not list(place.glob("runs/*"))
    draw(place / "others", "bright", "dark", "gray")
    assert cli.main(["audit", "photos", "--weights", weights]) == 0
    assert f"{weights} was fine-tuned on {count} of these images" in capsys.readouterr().out
    assert cli.main(["audit", "others", "--weights", weights]) == 0
    assert "was fine-tuned" not in capsys.readouterr().out
    config = Config(data=DataConfig(name="folder:others", image_size=16), transfer=TransferConfig(weights=weights))
    check_untrained(config, load(config.data))  # those that it didn't see are no matter


def test_what_learned_from_all_images_has_none_to_be_compared_on(place):
    """A run from scratch that held nothing out: there are no other weights to start over from."""
    config = read_config(Path("full"))
    scratch = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, val_fraction=0.0),
        transfer=TransferConfig(),
    )
    (place / "full/config.json").write_text(to_json(scratch))
    rows = (place / "full/splits.csv").read_text().replace("validation,", "train,")
    (place / "full/splits.csv").write_text(rows)
    options, _ = options_from(Path("full"), Config(data=DataConfig(name="folder:photos")), ())
    assert (options.transfer.weights, options.data.val_fraction) == ("full", 0)


@pytest.mark.slow
def test_a_run_that_was_interrupted_before_its_first_checkpoint_is_the_run_that_was_not(place, monkeypatch):
    draw(place / "photos", "gray")
    assert cli.main(["train", "photos", "--from", "full", "--train.epochs", "1", "--workdir", "new"]) == 0
    config = read_config(Path("new"))
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", lambda *_: pytest.fail("interrupted"))
        with pytest.raises(pytest.fail.Exception):
            trainer.train(config, Path("again"), Console())
    assert cli.main(["train", "photos", "--from", "full", "--workdir", "again"]) == 0
    assert comparable(Path("again")) == comparable(Path("new"))
    assert splits("again") == splits("new")


@pytest.mark.slow
def test_without_time_the_earlier_network_stays_and_knows_the_new_class(place, capsys):
    draw(place / "photos", "gray")
    assert cli.main(["train", "photos", "--from", "full", "--minutes", "0.001", "--workdir", "new"]) == 0
    assert "Strategy pretrained: the network of the earlier run alone, as there is no time" in capsys.readouterr().out
    old, new = (flatten_dict(dict(load_network(name).variables["params"])) for name in ("full", "new"))
    for path, array in old.items():
        part = slice(2) if path[0] == "head" else slice(None)
        np.testing.assert_array_equal(np.asarray(new[path])[..., part], array)
    images = [f"photos/gray/{i}.png" for i in range(40)]
    assert np.mean(fcnn.load("new").predict(images).argmax(axis=1) == 2) > 0.6
    # A run on this one, whose first checkpoint is its best, still goes on from features that know the images.
    assert cli.main(["train", "photos", "--from", "new", "--train.epochs", "1", "--workdir", "third"]) == 0
    assert read_config(Path("third")).transfer.head_init == "extend"


@pytest.mark.slow
def test_a_linear_probe_is_fitted_anew_and_its_images_are_free_for_validation(place, capsys, monkeypatch):
    assert cli.main(["train", "photos", *SMALL, "--workdir", "probe"]) == 0
    monkeypatch.setattr(auto, "FEW", 90)
    draw(place / "photos", "gray")
    assert cli.main(["train", "photos", "--from", "probe", "--train.epochs", "1", "--workdir", "new"]) == 0
    assert "Linear probe: cross-validated accuracy " in capsys.readouterr().out
    config, before, after = read_config(Path("new")), splits("probe"), splits("new")
    assert (config.transfer.strategy, config.transfer.head_init) == ("full", "linear_probe")
    assert all((after[one] == "test") == (split == "test") for one, split in before.items())
    assert any(after[one] == "validation" for one in before)
    assert cli.main(["train", "photos", "--from", "full", *SMALL, "--train.epochs", "1", "--workdir", "fresh"]) == 0
    assert read_config(Path("fresh")).transfer.head_init == "linear_probe"  # other weights haven't seen the images


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        ("nowhere", [], "there is no folder nowhere"),
        ("photos", [], "photos is not the folder of a run: it has no config.json"),
        ("digits", [], "digits is a run on digits, not on a folder of images"),
        ("open", [], "the run in open is not finished: continue it with the same command and --workdir open"),
        ("old", [], "splits.csv is damaged: the first line must be split,class,path,hash\nNothing says which images"),
        ("full", ["--data.image-size", "64"], "--from keeps what full has for --data.image-size; leave it out"),
        ("full", ["--workdir", "other"], "other holds a run that isn't from full; take another --workdir"),
        ("full", ["--config", "resnet"], "--from belongs to fcnn train PHOTOS; "),
    ],
)
def test_mistakes_end_before_anything_is_written(place, capsys, run, options, words):
    for name in ("open", "old", "digits", "other"):
        shutil.copytree("full", name)
    (place / "open/metrics.jsonl").write_text("")
    (place / "old/splits.csv").write_text("split,class,path\ntrain,dark,dark/0.png\n")
    (place / "digits/config.json").write_text("{}")
    (place / "other/config.json").write_text(json.dumps({"data": {"name": f"folder:{place / 'photos'}"}}))
    photos = [] if "--config" in options else ["photos"]
    assert cli.main(["train", *photos, "--from", run, *options]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not list(place.glob("runs/*"))
