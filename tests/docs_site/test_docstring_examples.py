"""The examples in docstrings that the site shows and that are no doctests, and the doctests outside of `fcnn.nn`."""

import doctest
import importlib
import inspect
import sys
import types
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from harness import ROOT
from sklearn.datasets import load_digits

import fcnn
from fcnn import models

sys.path.insert(0, str(ROOT / "docs"))
pytestmark = pytest.mark.slow

SHORTER = {
    '"resnet50", pretrained': '"resnet20", pretrained',  # whose weights come with fcnn
    "epochs=5": "epochs=1",
    'fcnn.load_preset("resnet")': "config",
    "photo.jpg": str(ROOT / "docs/digit.png"),
}


class MyNet(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, train: bool):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))


def given() -> dict[str, Any]:
    """Returns what the examples take as given."""
    digits: Any = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    cifar10 = types.SimpleNamespace(load_data=lambda: ((images[300:], labels[300:]), (images[:300], labels[:300])))
    return {
        "fcnn": fcnn, "optax": optax, "MyNet": MyNet, "Config": fcnn.Config, "TrainConfig": fcnn.TrainConfig,
        "from_arrays": fcnn.from_arrays, "create": models.create,
        "config": fcnn.Config(train=fcnn.TrainConfig(epochs=1), model=fcnn.ModelConfig(name="linear")),
        "model": models.create("resnet20", num_classes=10),
        "images": np.zeros((2, 32, 32, 3)), "key": jax.random.key(0),
        "keras": types.SimpleNamespace(datasets=types.SimpleNamespace(cifar10=cifar10)),
    }  # fmt: skip


def test_the_examples_run(tmp_path, monkeypatch):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    from sphinx_fcnn import docstrings, public

    things = {name: importlib.import_module(name) for name in public.modules()}
    things |= {name: public.item(name) for name in public.names()}
    examples = {
        text: name for name, thing in things.items() for text in docstrings.examples(inspect.getdoc(thing) or "")
    }
    expected = {"fcnn", "fcnn.train", "fcnn.create_model", "fcnn.models.Classifier"}
    assert expected <= set(examples.values())
    monkeypatch.chdir(tmp_path)
    for text, name in examples.items():
        for before, after in SHORTER.items():
            text = text.replace(before, after)
        exec(compile(text, f"the example of {name}", "exec"), given())


def test_the_doctests_run():
    for file in sorted((ROOT / "fcnn").rglob("*.py")):
        if ">>> " in file.read_text() and not file.is_relative_to(ROOT / "fcnn/nn"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            results = doctest.testmod(importlib.import_module(name))
            assert results.attempted > 0, name
            assert results.failed == 0, name
