"""What the input pipeline and augmentation add to a training step, for a data set that lives on the device."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fcnn import augment
from fcnn.config import Config
from fcnn.data import Dataset, Split
from fcnn.distributed import sharding
from fcnn.training.setup import TrainSetup, compile_train_step, make_setup

Run = Callable[[int], None]
"""Takes so many steps and waits for them."""


def measure_resident(
    config: Config, shape: tuple[int, int, int, int], *, rounds: int, log: Callable[[str], None], seconds: float = 1.0
) -> dict[str, Any]:
    """Measures the training steps of a config in turns: bare, on one batch, and with the input pipeline.

    Args:
      config: of the training, on random images.
      shape: of the images, (N, H, W, C).
      rounds: in each of which both run for `seconds`.

    Returns:
      {"model", "images", "image_size", "batch", "rounds", "bare" and "pipeline" (each {"wall", "cpu"}, seconds a step,
      and "images_per_second"; medians), "added" ({"wall", "cpu"}: the share of time that the pipeline adds, the median
      over the rounds), "first_batch_seconds" (from images on the host to a batch of them)}.
    """
    log("preparing steps, with and without the input pipeline")
    setup = make_setup(config, _random_images(shape), sharding.make_mesh())
    first_batch = _first_batch_seconds(setup)
    runs = {"bare": _bare(setup), "pipeline": _with_pipeline(setup)}
    for run in runs.values():
        run(1)
    steps = max(2, round(seconds / _timed(runs["bare"], 1)["wall"]))
    times: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for number in range(rounds):
        log(f"steps, round {number + 1} of {rounds}")
        for name, run in runs.items():
            times[name].append(_timed(run, steps))
    result: dict[str, Any] = {}
    for name, turns in times.items():
        result[name] = {key: statistics.median(turn[key] for turn in turns) for key in ("wall", "cpu")}
        result[name]["images_per_second"] = config.train.batch_size / result[name]["wall"]
    pairs = list(zip(times["pipeline"], times["bare"], strict=True))
    return result | {
        "model": config.model.name,
        "images": shape[0],
        "image_size": shape[1],
        "batch": config.train.batch_size,
        "rounds": rounds,
        "added": {key: statistics.median(a[key] / b[key] for a, b in pairs) - 1 for key in ("wall", "cpu")},
        "first_batch_seconds": first_batch,
    }


def _random_images(shape: tuple[int, int, int, int]) -> Dataset:
    rng = np.random.default_rng(0)
    train = Split(rng.integers(0, 256, shape, np.uint8), np.arange(shape[0], dtype=np.int32) % 10)
    none = train.take(slice(0))
    return Dataset("random images", tuple("0123456789"), train, none, none)


def _first_batch_seconds(setup: TrainSetup) -> float:
    began = time.perf_counter()
    _a_batch(setup)
    return time.perf_counter() - began


def _a_batch(setup: TrainSetup) -> Any:
    """The first batch, on the devices, as the step is given it: pixels as they are stored."""
    pipeline = setup.train_pipeline()
    item = next(setup.train_items(pipeline, 0))
    mask = sharding.shard(np.ones(setup.config.train.batch_size, bool), setup.mesh)
    return jax.block_until_ready(jax.jit(pipeline.batch)(*pipeline.device_put(item), mask))


def _bare(setup: TrainSetup) -> Run:
    """Steps on one batch that is normalized already."""
    batch = sharding.shard(augment.normalize(*setup.dataset.mean_std())(_a_batch(setup)), setup.mesh)
    state = setup.init_state()
    step = sharding.compile_step(setup.train_step(), state, batch, donate=True, parallel=setup.config.parallel)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, batch)
        jax.block_until_ready(state)

    return run


def _with_pipeline(setup: TrainSetup) -> Run:
    """Steps as a run takes them."""
    pipeline, state = setup.train_pipeline(), setup.init_state()
    items = setup.train_items(pipeline, 0)
    step = compile_train_step(setup, state, pipeline)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, next(items))
        jax.block_until_ready(state)

    return run


def _timed(run: Run, steps: int) -> dict[str, float]:
    """Seconds a step."""
    wall, cpu = time.perf_counter(), time.process_time()
    run(steps)
    return {"wall": (time.perf_counter() - wall) / steps, "cpu": (time.process_time() - cpu) / steps}
