"""A config that can't work as it was meant is noted before the first step; a good one isn't commented on."""

import dataclasses

import jax
import numpy as np
import pytest

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig, presets
from fcnn.data import load
from fcnn.data.dataset import Dataset, Split
from fcnn.distributed import sharding
from fcnn.training.config_notes import config_notes
from fcnn.training.setup import make_setup

LABELS = np.repeat(np.arange(4), 10).astype(np.int32)
SPLIT = Split(np.zeros((40, 8, 6, 1), np.uint8), LABELS)
DATASET = Dataset("set", ("a", "b", "c", "d"), SPLIT, SPLIT, SPLIT)


def part(*places):
    return SPLIT.take(np.arange(*places))


def found(train=None, optim=None, augment=None, data=None, splits=None):
    config = Config(
        data=DataConfig(**data or {}),
        model=ModelConfig(name="linear"),
        train=TrainConfig(**{"batch_size": 8, "steps": 20} | (train or {})),
        optim=OptimConfig(**optim or {}),
        augment=AugmentConfig(**augment or {}),
    )
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:1]), (sharding.DATA_AXIS,))
    return config_notes(make_setup(config, dataclasses.replace(DATASET, **splits or {}), mesh))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optim": {"warmup_steps": 20}}, "the warm-up takes 20 steps and the run has 20"),
        ({"train": {"ema_decay": 0.99}}, "the last 100 steps and the run has 20: the effective decay reaches only 0.7"),
        ({"train": {"eval_steps": 21}}, "21 steps between evaluations: the run has 20"),
        ({"train": {"eval_epochs": 5.0}}, "25 steps between evaluations: the run has 20"),
        ({"train": {"patience": 4.0}}, "--train.patience 4 is as long as the run"),
        ({"train": {"checkpoint_steps": 20}}, "--train.checkpoint-steps 20 has no effect"),
        ({"optim": {"name": "adamw", "learning_rate": 10, "weight_decay": 0.2}}, "-decay is 2: from 1 on"),
        ({"augment": {"crop_padding": 6}}, "crops with nothing of the 8 x 6 image"),
        ({"augment": {"cutout": 6}}, "can cover the whole image, 8 x 6"),
        ({"splits": {"validation": part(0)}}, "--data.val-fraction 0.1 holds out no image"),
        ({"splits": {"validation": part(0, 40, 14)}}, "the 3 validation images have none of 1 of 4 classes (d)"),
        ({"splits": {"train": part(10, 40)}}, "the 30 training images have none of 1 of 4 classes (a)"),
        ({"splits": {"test": part(0, 20)}}, "the 20 test images have none of 2 of 4 classes (c, d)"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_one_sentence(options, words):
    (one,) = found(**options)
    assert words in one


def test_at_the_edge_nothing_is_said():
    assert found() == []
    assert found(train={"ema_decay": 0.95, "patience": 3.9, "checkpoint_steps": 19, "eval_steps": 20}) == []
    assert found(optim={"warmup_steps": 19, "name": "adamw", "learning_rate": 1.0, "weight_decay": 0.9}) == []
    assert found(augment={"crop_padding": 5, "cutout": 5}) == []
    assert found(data={"val_fraction": 0.0}, splits={"validation": part(0)}) == []


@pytest.mark.parametrize("name", ["resnet", "lenet"])
def test_shipped_presets_are_not_commented_on(name):
    config = presets.load_preset(name)
    data = load(dataclasses.replace(config.data, name="digits", manual_dir=None, mean=None, std=None))
    assert config_notes(make_setup(config, data, sharding.make_mesh())) == []
