"""Two ways to feed: the same images in the same steps, the same numbers to the bit, from any step on."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from fcnn import loop, parallel
from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from fcnn.data import Streamed, load
from fcnn.experiment import compile_evaluation, prepare, train_feed, train_items
from fcnn.feed import Order, StreamFeed
from fcnn.report import Console, read_records

CONFIG = Config(
    augment=AugmentConfig(crop_padding=1, flip=True, resized_crop=0.5, mixup=0.2),
    model=ModelConfig(name="resnet20", width=0.25, dropout=0.2),
    optim=OptimConfig(learning_rate=0.05),
    train=TrainConfig(steps=23, batch_size=64, log_steps=4, eval_batch_size=100, ema_decay=0.9),
)


def fed(feed: str, config: Config = CONFIG) -> Config:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, feed=feed))


def comparable(workdir):
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in read_records(workdir)]


def test_both_ways_give_the_same_numbers_to_the_bit(tmp_path, capsys):
    """Over the end of an epoch, with everything random, and evaluations whose last batch is padded."""
    for feed in ("device", "stream"):
        loop.train(fed(feed), tmp_path / feed, Console())
    out = capsys.readouterr().out
    assert "images on the device" in out
    assert "images streamed" in out
    assert comparable(tmp_path / "stream") == comparable(tmp_path / "device")


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_other_networks_too(tmp_path, name):
    config = dataclasses.replace(
        CONFIG,
        data=DataConfig(image_size=16),
        model=ModelConfig(name=name),
        augment=AugmentConfig(rotation=10, brightness=0.2, cutout=2),
    )
    for feed in ("device", "stream"):
        loop.train(fed(feed, config), tmp_path / feed, Console())
    assert comparable(tmp_path / "stream") == comparable(tmp_path / "device")


def experiment(feed: str):
    config = fed(feed)
    return prepare(config, load(config.data), parallel.make_mesh())
