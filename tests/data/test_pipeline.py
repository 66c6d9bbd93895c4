"""Two ways to feed: the same images in the same steps, the same numbers to the bit, from any step on."""

import dataclasses
import threading
import time
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from harness import comparable
from PIL import Image

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from fcnn.data import Streamed, epoch_order, load
from fcnn.data.pipeline import EpochSampler, StreamPipeline
from fcnn.distributed import sharding
from fcnn.report import Console
from fcnn.training import metric_log, trainer
from fcnn.training.setup import make_setup
from fcnn.utils.errors import UserError

CONFIG = Config(
    augment=AugmentConfig(crop_padding=1, flip=True, resized_crop=0.5, mixup=0.2),
    model=ModelConfig(name="shallow_cnn", dropout=0.2),
    optim=OptimConfig(learning_rate=0.05),
    train=TrainConfig(steps=23, batch_size=64, log_steps=4, eval_batch_size=100, ema_decay=0.9),
)


def fed(pipeline: str, config: Config = CONFIG) -> Config:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, pipeline=pipeline))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """40 photographs of two kinds, larger than they are fed."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for i in range(40):
        path = tmp_path / f"photographs/{'ab'[i % 2]}/{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((80, 60 + i), Image.Resampling.BICUBIC).save(path)
    return tmp_path / "photographs"


@pytest.mark.slow
def test_both_ways_give_the_same_numbers_to_the_bit(tmp_path, capsys):
    """Over the end of an epoch, with everything random, and evaluations whose last batch is padded."""
    for pipeline in ("device", "stream"):
        trainer.train(fed(pipeline), tmp_path / pipeline, Console())
    out = capsys.readouterr().out
    assert "images on the device" in out
    assert "images streamed" in out
    assert comparable(tmp_path / "stream") == comparable(tmp_path / "device")


@pytest.mark.slow
def test_an_interpolated_and_accumulated_run_too(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        data=DataConfig(image_size=12, class_weights="balanced"),
        model=ModelConfig(name="mlp"),
        augment=AugmentConfig(rotation=10, brightness=0.2, cutout=2),
        train=TrainConfig(steps=6, batch_size=64, grad_accum_steps=2, log_steps=1),
    )
    for pipeline in ("device", "stream"):
        trainer.train(fed(pipeline, config), tmp_path / pipeline, Console())
    assert comparable(tmp_path / "stream") == comparable(tmp_path / "device")


def experiment(pipeline: str):
    config = fed(pipeline)
    return make_setup(config, load(config.data), sharding.make_mesh())


def test_a_streamed_step_gets_the_images_that_the_order_says_from_any_step_on():
    setup = experiment("stream")
    train, size = setup.dataset.train, setup.config.train.batch_size
    whole = [jax.device_get(item) for item in setup.train_items(setup.train_pipeline(), 0)]
    assert len(whole) == setup.total_steps
    for first in (1, 20, 22):  # within an epoch, at the end of one, the last step
        chex.assert_trees_all_equal(
            [jax.device_get(i) for i in setup.train_items(setup.train_pipeline(), first)], whole[first:]
        )
    for step, (images, labels) in enumerate(whole):
        epoch, place = divmod(step, setup.steps_per_epoch)
        indices = epoch_order(setup.config.seed, epoch, len(train))[place * size : (place + 1) * size]
        assert np.array_equal(images, train.images[indices])
        assert np.array_equal(labels, train.labels[indices])


def test_processes_read_a_slice_each_of_every_batch():
    setup = experiment("stream")
    split = setup.dataset.train
    assert isinstance(split, Streamed)
    order = EpochSampler(len(split), 64, seed=5)
    whole = StreamPipeline(split, setup.mesh).read(order, 30)
    parts = [StreamPipeline(split, setup.mesh, process_index=i, process_count=4).read(order, 30) for i in range(4)]
    assert [len(labels) for _, labels in parts] == [16] * 4
    chex.assert_trees_all_equal(tuple(np.concatenate(part) for part in zip(*parts, strict=True)), whole)


def test_a_streamed_pass_gives_each_image_once_whatever_the_batch():
    split = experiment("stream").dataset.test
    assert isinstance(split, Streamed)
    for batch_size in (100, 360, 8):
        eval_epoch = StreamPipeline(split, sharding.make_mesh()).eval_epoch(batch_size)
        for _ in range(2):
            parts = [jax.device_get(part) for part in eval_epoch()]
            kept = [(images[mask], labels[mask]) for (images, labels), mask in parts]
            images, labels = (np.concatenate(part) for part in zip(*kept, strict=True))
            assert np.array_equal(images, split.images)
            assert np.array_equal(labels, split.labels)


def test_no_more_than_a_few_batches_are_read_ahead():
    """And a feed that is left alone stops reading, and its threads end: memory doesn't grow with the set."""
    before, reads = threading.active_count(), []
    setup = experiment("stream")
    split = setup.dataset.train
    assert isinstance(split, Streamed)

    class Counting(StreamPipeline):
        def read(self, order, step):
            reads.append(step)
            return super().read(order, step)

    items = Counting(split, setup.mesh, threads=3).train(EpochSampler(len(split), 8, seed=0), range(10_000))
    for taken in range(1, 20):
        next(items)
        time.sleep(0.01)
        assert len(reads) <= taken + 3 + 1 + 2 + 3  # threads, the queues for host and device, and one each on its way
    items.close()
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def streamed_folder(folder, **augment) -> Config:
    return Config(
        data=DataConfig(name=f"folder:{folder}", image_size=24, pipeline="stream"),
        augment=AugmentConfig(**augment),
        model=ModelConfig(name="linear"),
        train=TrainConfig(steps=5, batch_size=8, eval_batch_size=4),
    )


def test_files_are_cropped_once_where_they_are_decoded(folder):
    config = streamed_folder(folder, resized_crop=0.3)
    setup = make_setup(config, load(config.data), sharding.make_mesh())
    train = setup.dataset.train
    assert isinstance(train, Streamed)
    assert setup.device_augment().resized_crop == 1.0
    images, _ = jax.device_get(next(setup.train_items(setup.train_pipeline(), 4)))
    epoch, place = divmod(4, setup.steps_per_epoch)
    indices = epoch_order(0, epoch, len(train))[8 * place : 8 * place + 8]
    assert np.array_equal(images, train.read_crops(indices, 0.3, seed=0, epoch=epoch))
    # Rows of decoded images have no more pixels than those: they are cropped on the device, as everywhere.
    digits = experiment("stream")
    assert digits.device_augment() == CONFIG.augment


def test_a_streamed_folder_trains_and_a_file_that_breaks_is_named(folder, tmp_path):
    config = streamed_folder(folder, resized_crop=0.3, flip=True)
    assert trainer.train(config, tmp_path / "run", Console())["count"] == 8
    broken = make_setup(config, load(config.data), sharding.make_mesh())
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"jpg can no longer be read: not an image"):
        next(broken.train_items(broken.train_pipeline(), 0))


@pytest.mark.parametrize(("feed_ms", "step_ms", "share"), [(6, 2, 2 / 3), (3, 2, 1 / 3), (2, 4, 0)])
def test_what_counts_is_how_long_the_device_waits_and_not_how_long_the_host_does(feed_ms, step_ms, share, monkeypatch):
    """The feed delivers two at a time, as threads do. The host of a slow device runs ahead and waits as well."""
    now = free = 0.0  # what the clock says, and when the device will have done what it was given

    def at(moment):
        nonlocal now
        now = max(now, moment)

    def pipeline():
        for pair in range(200):
            at(2 * feed_ms * (pair + 1))
            yield from (None, None)

    monkeypatch.setattr(metric_log, "time", SimpleNamespace(perf_counter=lambda: now))
    device, items = SimpleNamespace(block_until_ready=lambda: at(free)), pipeline()
    watch = metric_log.MetricLog(None, 1, 1)
    for _ in range(400):
        watch.next_item(items, device)
        free = max(free, now) + step_ms
    at(free)
    assert watch.waiting_share() == pytest.approx(share, abs=0.03)


def test_a_feed_that_holds_up_the_steps_is_told(tmp_path, monkeypatch, capsys):
    read = StreamPipeline.read

    def slow(self, order, step):
        time.sleep(0.05 * self._threads)
        return read(self, order, step)

    monkeypatch.setattr(StreamPipeline, "read", slow)
    config = Config(
        data=DataConfig(pipeline="stream", val_fraction=0),
        model=ModelConfig(name="linear"),
        train=TrainConfig(epochs=1, batch_size=32),
    )
    trainer.train(config, tmp_path / "run", Console())
    assert "Input-bound: " in capsys.readouterr().out
