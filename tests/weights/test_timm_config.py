"""What timm writes beside weights is taken at its word, and what it isn't is refused."""

import json

import numpy as np
import pytest
from harness import random_network
from safetensors.numpy import save_file

from fcnn.config import ModelConfig
from fcnn.utils.errors import UserError
from fcnn.weights import read_network, to_torch
from fcnn.weights.timm_config import MODELS

SAID = {
    "input_size": [3, 192, 160],
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "crop_pct": 0.9,
    "interpolation": "bicubic",
}


def write(folder, architecture="mobilenetv3_small_100", **changes):
    """A file of a network with 1,000 classes, and timm's config beside it."""
    if not (folder / "model.safetensors").exists():
        network = random_network("mobilenet_v3_small", classes=1000)
        save_file(to_torch("mobilenet_v3_small", network.variables), folder / "model.safetensors")
    said = {name: value for name, value in (SAID | changes).items() if value is not None}
    config = {"architecture": architecture, "num_classes": 1000, "pretrained_cfg": said}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


def test_the_network_and_its_images_are_what_it_says(tmp_path):
    info = read_network(write(tmp_path, tag="ra_in1k")).info
    assert info.model == ModelConfig(name="mobilenet_v3_small", options={"padding": "torch", "epsilon": 1e-5})
    assert (info.image_shape, info.crop, info.interpolation) == ((192, 160, 3), 0.9, "bicubic")
    assert (info.mean, info.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert info.named
    assert info.classes[:2] == ("tench", "goldfish")
    assert read_network(write(tmp_path)).notes == ()
    assert not read_network(write(tmp_path)).info.named
    assert (
        read_network(write(tmp_path, crop_mode="squash")).notes[0].startswith("In timm its photographs are not cropped")
    )
    mine = read_network(write(tmp_path), ModelConfig(name="mobilenet_v3_small", options={"epsilon": 0.5}))
    assert mine.info.model.options == {"padding": "torch", "epsilon": 0.5}


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{}", '{"architecture": 3}', '{"architecture": "resnet18"}', "[" * 9999]
)
def test_somebody_elses_config_is_passed_over(text, tmp_path):
    path = write(tmp_path)
    (tmp_path / "config.json").write_text(text)
    network = read_network(path, ModelConfig(name="mobilenet_v3_small"))
    assert network.info.image_shape == (224, 224, 3)
    assert "It doesn't say how images are prepared" in network.notes[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vit_small_patch16_224"}, "is a vit_small_patch16_224, which fcnn doesn't have"),
        ({"mean": [0.5]}, "input_size, mean and std don't go together"),
        ({"input_size": [3, 0, 224]}, "input_size, mean and std don't go together"),
        ({"std": ["a", "b", "c"]}, "std must be numbers"),
        ({"mean": None}, "mean must be numbers, got None"),
        ({"crop_pct": 1.5}, "crop_pct must be above 0 and at most 1, got 1.5"),
        ({"interpolation": "nearest"}, "interpolation must be bilinear or bicubic, got 'nearest'"),
    ],
)
def test_a_value_that_can_not_be_is_refused_in_a_line(changes, message, tmp_path):
    with pytest.raises(UserError, match=message) as refused:
        read_network(write(tmp_path, **changes))
    assert "\n" not in str(refused.value)


def test_options_change_what_is_computed_and_no_name_is_of_two():
    """TensorFlow's padding and epsilon against PyTorch's: what the weights don't show."""
    assert all(np.isin(list(options), ["padding", "epsilon"]).all() for _, options in MODELS.values())
    for name, (_, options) in MODELS.items():
        if name.startswith("tf_"):
            assert options == {"padding": "SAME", "epsilon": 1e-3}
