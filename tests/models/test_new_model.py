"""An architecture is one file and one line of the registry: what goes through all of them finds a new one."""

import dataclasses
import re
import sys
from typing import Any

import jax
import numpy as np
import pytest
import test_models
from harness import ROOT
from safetensors.numpy import load_file, save_file

from fcnn import cli, models, registry, weights
from fcnn.cli.parse import parse
from fcnn.cli.train import TrainArgs
from fcnn.config import Config, ModelConfig, TransferConfig
from fcnn.training.trainable import find_trainable
from fcnn.weights.torch_names import torch_shapes

NAME = "vovnet39a"


@pytest.fixture(autouse=True)
def line(monkeypatch):
    """The line: vovnet.py beside this test is the file."""
    monkeypatch.setitem(registry.MODELS, NAME, "vovnet:vovnet39a")


def test_commands_and_docs_know_it(capsys, monkeypatch):
    assert cli.main(["models"]) == 0
    assert re.search(r"vovnet39a +224x224x3 +1000 +22.60 +7.07 +Lee et al. 2019", capsys.readouterr().out)
    assert cli.main(["summary", NAME]) == 0
    # timm's: 22,600,296 parameters, 7,072,227,328 multiply-adds.
    assert "22,600,296 parameters, 7.072 G multiply-adds" in capsys.readouterr().out
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import make_models  # pyright: ignore[reportMissingImports]  # found in docs/

    row = "| `vovnet39a` | 224x224x3 | 1,000 | 22,600,296 | 7.072 | 53.9 | 29 | `layers_per_block` |  | Lee et al. 2019"
    assert make_models.row(NAME).startswith(row)
    words = ["--model.name", NAME, "--model.options.layers-per-block", "3"]
    config = parse(TrainArgs, words, "fcnn train", default=TrainArgs(config=Config(), preset="NAME")).config
    assert models.from_config(config.model, num_classes=2).layers_per_block == 3


def test_it_has_the_properties_of_all(monkeypatch):
    assert NAME in [names[0] for names in models.variants()]
    test_models.test_any_size_from_the_smallest_on(NAME)
    test_models.test_the_smallest_size_is_the_smallest(NAME, monkeypatch)
    test_models.test_fields_change_the_layers(NAME)


def test_strategies_of_transfer_freeze_its_layers():
    model = models.create(NAME, num_classes=3, layers_per_block=1)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    layers = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)["params"].keys()
    last = {layer for layer in layers if layer.startswith(("osa5", "head"))}
    frozen: dict[Any, Any] = {"head": layers - {"head"}, "last_block": layers - last, "full": set()}
    for strategy, expected in frozen.items():
        config = TransferConfig(weights="file", strategy=strategy)
        assert find_trainable(config, model, (32, 32, 3)).frozen == expected


def test_its_weights_go_in_and_out_under_pytorchs_names(tmp_path):
    rng = np.random.default_rng(0)
    shapes = torch_shapes(models.create(NAME, num_classes=3))
    arrays = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    # From timm's source.
    assert shapes["stages.3.blocks.1.conv_concat.conv.weight"] == (1024, 2144, 1, 1)
    assert shapes["stages.2.blocks.0.conv_mid.4.conv.weight"] == (192, 192, 3, 3)
    assert {"stem.2.conv.weight", "stages.0.blocks.0.conv_mid.0.bn.running_var", "head.fc.bias"} <= shapes.keys()
    save_file(arrays, tmp_path / "theirs.safetensors")
    network = weights.read_network(tmp_path / "theirs.safetensors", None)
    assert network.info.model == ModelConfig(name=NAME)
    named = dataclasses.replace(network.info, classes=("a", "b", "c"), named=True)
    weights.write_network(tmp_path / "ours.safetensors", dataclasses.replace(network, info=named))
    assert weights.read_network(tmp_path / "ours.safetensors", None).info == named
    written = load_file(tmp_path / "ours.safetensors")
    for name, array in arrays.items():
        assert np.array_equal(written[name], array), name
    counters = {name for name in written if name.endswith("num_batches_tracked")}
    assert written.keys() - counters == arrays.keys()
    assert "stem.0.bn.num_batches_tracked" in counters


def test_the_file_is_short():
    assert len((ROOT / "tests" / "models" / "vovnet.py").read_text().splitlines()) <= 80
    assert sys.modules["vovnet"].__file__ == str(ROOT / "tests" / "models" / "vovnet.py")
