"""Networks from elsewhere and from runs, by the door that the command line uses."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import pytest

from fcnn import cli, models, weights
from fcnn.config import Config, ModelConfig, TrainConfig
from fcnn.report import Console
from fcnn.training import trainer
from fcnn.training.pretrained import load_network
from fcnn.utils.errors import UserError
from fcnn.weights import write_network
from fcnn.weights.files import read_arrays, write_arrays
from fcnn.weights.foreign import to_reference

MLP = ModelConfig(name="mlp", width_multiplier=0.1, norm="batch")
CONFIG = Config(model=MLP, train=TrainConfig(steps=3, eval_steps=3, ema_decay=0.5))


def draw(name, classes=10, **options):
    """Variables of a model, no two numbers alike."""
    model = models.create(name, num_classes=classes, **options)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), np.zeros((1, *model.image_shape), np.float32), train=False)
    )
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), dict(shapes))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, and what its test said."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, trainer.train(CONFIG, folder, Console(stderr=True))


def test_a_run_is_a_network_and_a_network_is_a_file(run, tmp_path):
    network = load_network(str(run[0]))
    assert network.info.model == MLP
    assert network.info.classes == tuple("0123456789")
    assert network.info.image_shape == (8, 8, 1)
    write_network(tmp_path / "run.safetensors", network)
    again = load_network(str(tmp_path / "run.safetensors"))
    assert again.info == network.info
    chex.assert_trees_all_equal(again.variables, network.variables)
    facts = json.loads((run[0] / "data.json").read_text())
    assert network.info.mean == tuple(facts["mean"])
    # What the run's accuracy is of.
    assert network.info.weights == run[1]["weights"]


def test_weights_are_of_the_network_that_is_asked_for(run, tmp_path):
    folder = str(run[0])
    assert load_network(folder, dataclasses.replace(MLP, dropout=0.5, kernel_init="orthogonal"))
    for change, words in (
        ({"name": "linear"}, r"the network in .* has model\.name mlp, not linear$"),
        ({"activation": "gelu"}, r"has model\.activation None, not gelu$"),
        (
            {"width_multiplier": 1.0, "norm": None},
            r"has model\.width-multiplier 0\.1, not 1\.0; model\.norm batch, not None$",
        ),
    ):
        with pytest.raises(UserError, match=words):
            load_network(folder, dataclasses.replace(MLP, **change))
    write_arrays(
        tmp_path / "a.safetensors", weights.to_torch("lenet5", draw("lenet5")), '{"model": {"name": "lenet6"}}'
    )
    with pytest.raises(UserError, match=r"the header of .*a\.safetensors: unknown model\.name 'lenet6'"):
        load_network(str(tmp_path / "a.safetensors"))
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"is not the folder of a run|there is no file"):
            load_network(str(folder))


NO_CROP = '{"classes": ["a"], "image_shape": [8, 8, 1], "mean": [0.5], "std": [0.5], "crop": 0}'


@pytest.mark.parametrize("damage", ["[]", "{", '{"model": 1}', "{}", "[" * 100_000, NO_CROP])
def test_a_header_that_is_not_ours_is_told(damage, tmp_path):
    write_arrays(tmp_path / "a.safetensors", {"x": np.ones(2)}, damage)
    with pytest.raises(UserError, match=r"the header of .*a\.safetensors: "):
        load_network(str(tmp_path / "a.safetensors"))


def test_channels_that_do_not_go_together_are_told(run, tmp_path):
    network = load_network(str(run[0]))
    for change, words in (
        ({"mean": (0.5, 0.5)}, "don't go together"),
        ({"image_shape": (8, 8)}, "don't go together"),
        ({"classes": ()}, "no classes"),
        ({"image_shape": (8, 0, 1)}, "numbers from 1"),
        ({"image_shape": (10**6, 10**6, 1)}, "numbers from 1"),
        ({"image_shape": (8, 8, 3)}, "don't go together"),
        ({"mean": (float("nan"),)}, "must be finite"),
        ({"std": (0.0,)}, "std above 0"),
        ({"value_range": (5.0, 5.0)}, "the lower one first"),
    ):
        with pytest.raises(UserError, match=words):
            weights.NetworkInfo.from_json(json.dumps(network.info.to_dict() | change), "here")


SLOW = ("resnet18", "vgg16_bn", "resnet50", "googlenet", "inception_v3")  # seconds each to trace


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in ("alexnet", "squeezenet1_0", "resnet20", *SLOW)
    ],
)
def test_torchvisions_weights_go_in_and_out_unchanged(name, tmp_path):
    options: dict[str, Any] = {"width_multiplier": 0.125}
    given = weights.to_torch(name, draw(name, 3, **options), **options)
    write_network(
        tmp_path / "out.safetensors",
        weights.Network(
            info=info(name, 3, width_multiplier=0.125), variables=weights.from_torch(name, given, **options)
        ),
    )
    found = read_arrays(tmp_path / "out.safetensors")[0]
    assert found.keys() == given.keys()
    for key, array in given.items():
        assert np.array_equal(found[key], array), key


def info(name, classes, **options):
    made = models.create(name, num_classes=1)
    return weights.NetworkInfo(
        model=ModelConfig(name=name, **options),
        classes=tuple(map(str, range(classes))),
        image_shape=made.image_shape,
        mean=(0.5,) * made.image_shape[2],
        std=(0.5,) * made.image_shape[2],
    )


def test_timms_vgg_and_inception_fit():
    theirs = {
        "features.0.weight": np.zeros((2, 3, 3, 3)),
        "pre_logits.fc1.weight": np.arange(4 * 2 * 7 * 7.0).reshape(4, 2, 7, 7),
        "pre_logits.fc2.weight": np.zeros((4, 4, 1, 1)),
        "pre_logits.fc1.bias": np.zeros(4),
        "pre_logits.fc2.bias": np.zeros(4),
        "head.fc.weight": np.zeros((5, 4)),
        "head.fc.bias": np.zeros(5),
    }
    vgg = models.create("vgg16", num_classes=5)
    found = to_reference(theirs, vgg)
    assert {key: value.shape for key, value in found.items()} == {
        "features.0.weight": (2, 3, 3, 3),
        "classifier.0.weight": (4, 98), "classifier.3.weight": (4, 4), "classifier.6.weight": (5, 4),
        "classifier.0.bias": (4,), "classifier.3.bias": (4,), "classifier.6.bias": (5,),
    }  # fmt: skip
    assert np.array_equal(found["classifier.0.weight"].ravel(), np.arange(392))
    assert to_reference(found, vgg) == found


@pytest.mark.slow
def test_an_inception_without_its_auxiliary_head_is_one(tmp_path):
    given = weights.to_torch("googlenet", draw("googlenet", 3, auxiliary=False), auxiliary=False)
    write_arrays(tmp_path / "a.safetensors", given, "{}")
    path = tmp_path / "theirs.safetensors"
    from safetensors.numpy import save_file

    save_file(given, path)
    assert load_network(str(path), ModelConfig(name="googlenet")).info.model.options == {"auxiliary": False}


def test_import_writes_a_file_that_says_what_it_is(tmp_path, monkeypatch, capsys):
    from safetensors.numpy import save_file

    monkeypatch.chdir(tmp_path)
    given = weights.to_torch("resnet20", draw("resnet20", 3))
    save_file(given, "theirs.safetensors")
    Path("names.txt").write_text("rose\ndaisy\ntulip\n")
    call = ["convert", "theirs.safetensors", "--model", "resnet20"]
    assert cli.main([*call, "--labels", "names.txt", "--std", "0.2", "0.2", "0.2", "--mean", "0.5", "0.5", "0.5"]) == 0
    assert "resnet20.safetensors: resnet20, 3 classes, images of 32 x 32 x 3" in capsys.readouterr().out
    made = load_network("resnet20.safetensors")
    assert made.info.classes == ("rose", "daisy", "tulip")
    assert (made.info.mean, made.info.std) == ((0.5,) * 3, (0.2,) * 3)
    chex.assert_trees_all_equal(made.variables, weights.from_torch("resnet20", given))
    assert load_network("theirs.safetensors", ModelConfig(name="resnet20")).info.mean == (0.485, 0.456, 0.406)
    before = sorted(tmp_path.iterdir())
    for arguments, words in (
        (call, "resnet20.safetensors exists; take another --out"),
        ([*call[:2]], "fits resnet20 and plain20: choose one with --model NAME"),
        ([*call, "--out", "a.pth"], "must end in .safetensors"),
        ([*call[:3], "resnet2", "--out", "b.safetensors"], "unknown model.name 'resnet2'; did you mean resnet"),
        ([*call[:3], "resnet32", "--out", "b.safetensors"], "these weights fit resnet20 or plain20, not resnet32"),
        ([*call, "--mean", "1"], "--mean and --std go together"),
        ([*call, "--mean", "1", "--std", "1", "--out", "b.safetensors"], "--mean has 1 numbers"),
        ([*call, "--crop", "1.5", "--out", "b.safetensors"], "--crop must be above 0 and at most 1, got 1.5"),
        ([*call, "--labels", "theirs.safetensors", "--out", "b.safetensors"], "can't be read"),
        (["convert", "resnet20.safetensors", "--model", "resnet32"], "has model.name resnet20, not resnet32"),
    ):
        assert cli.main(arguments) == 2
        said = capsys.readouterr()
        assert words in said.err
        assert len(said.err.splitlines()) == 1
    Path("names.txt").write_text("rose\n")
    assert cli.main([*call, "--labels", "names.txt", "--out", "b.safetensors"]) == 2
    assert "has 1 lines, the network 3 classes" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_published_weights_are_imported(tmp_path, monkeypatch):
    folder = os.environ.get("FCNN_SHARED_WEIGHTS")
    if not folder:
        pytest.skip("FCNN_SHARED_WEIGHTS names no folder with the published weights")
    monkeypatch.chdir(tmp_path)
    for file, *model in (("resnet56-4bfd9763.th", "--model", "resnet56"), ("squeezenet1_0.safetensors",)):
        assert cli.main(["convert", f"{folder}/{file}", *model]) == 0
    assert load_network("resnet56.safetensors").info.model.name == "resnet56"
    assert load_network("squeezenet1_0.safetensors").info.model.name == "squeezenet1_0"
