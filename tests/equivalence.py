"""What a few steps give on some devices in some mode: run in processes of its own by the tests that compare.

    python equivalence.py FOLDER CASE...

A case is `float32-pmap-8`: type, mode, devices; with `-flax`, a network of Flax's own layers.
Its result is FOLDER/CASE.npz: every array of the state after one step
(whose moments are the gradient) and after three, and the losses.
Process i of n is told COORDINATOR, PROCESSES and PROCESS in the environment; the first one writes.
"""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, ParallelConfig, TrainConfig
from fcnn.data import load
from fcnn.distributed import sharding
from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.training.setup import TrainSetup, compile_train_step, make_setup

BATCH, MICRO = 32, 2
CONFIG = Config(
    augment=AugmentConfig(flip=True),
    model=ModelConfig(norm="batch", dropout=0.2),
    optim=OptimConfig(learning_rate=0.05, clip_norm=0.5, weight_decay=1e-3, l2=1e-3, label_smoothing=0.1),
    train=TrainConfig(batch_size=BATCH, grad_accum_steps=MICRO, ema_decay=0.9, eval_batch_size=48, epochs=1),
)


class Small(Classifier):
    """Two convolutions with batch norm, dropout, a dense layer: few operations, so that it compiles soon."""

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        x = self.conv_norm_act(train)(16, 3, 2, 1, name="conv1")(x)
        x = self.conv_norm_act(train)(16, 3, padding=1, name="conv2")(x)
        return self.head(name="head")(self.drop(nn.avg_pool(x, (4, 4)).reshape(len(x), -1), 0.0, train))


class OfFlax(nn.Module):
    """The same by Flax's own batch norm and dropout, which know nothing of devices."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(16, (3, 3), (2, 2), name="conv")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, use_fast_variance=False, name="norm")(x))
        x = nn.Dropout(self.rate)(x.reshape(len(x), -1), deterministic=not train)
        return nn.Dense(10, name="head")(x)


def experiment(config: Config, devices: int | None = None, *, of_flax: bool = False) -> TrainSetup:
    """The experiment with the small network, on so many devices, or all."""
    some = jax.devices()[:devices]
    assert devices in (None, len(some))
    mesh = sharding.make_mesh() if devices is None else Mesh(np.asarray(some), (sharding.DATA_AXIS,), (AxisType.Auto,))
    setup = make_setup(config, load(DataConfig()), mesh)
    rate = config.model.dropout
    model = OfFlax(rate or 0.0) if of_flax else Small(num_classes=10, dropout=rate)
    return dataclasses.replace(setup, model=model)


def take_steps(setup: TrainSetup, batches: list[np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """The states after the first step and the last, and the loss of each, by name."""
    state = jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, setup.init_state())
    state = sharding.replicate(state, setup.mesh)
    step, found = compile_train_step(setup, state), {}
    for number, indices in enumerate(batches, 1):
        state, report = step(state, indices)
        found[f"loss{number}"] = np.asarray(report.metrics.loss)
        if number in (1, len(batches)):
            arrays = dataclasses.asdict(state.replace(key=jax.random.key_data(state.key)))
            leaves = jax.tree_util.tree_flatten_with_path(arrays)[0]
            found |= {f"step{number}/{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}
    return found


def error(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> float:
    """The largest ||a - b|| of an array, relative to the larger of ||b|| and 1e-6 of all b's norm."""
    assert ours.keys() == reference.keys()
    norms = {name: np.linalg.norm(np.ravel(array).astype(np.float64)) for name, array in reference.items()}
    whole = np.linalg.norm([norm for name, norm in norms.items() if "key" not in name])
    return max(
        float(np.linalg.norm(np.ravel(ours[name].astype(np.float64) - array)) / max(norms[name], 1e-6 * whole))
        for name, array in reference.items()
    )


def main(folder: Path, cases: list[str]) -> None:
    if "COORDINATOR" in os.environ:
        address, count, index = (os.environ[name] for name in ("COORDINATOR", "PROCESSES", "PROCESS"))
        jax.distributed.initialize(address, int(count), int(index))
    for case in cases:
        dtype, mode, devices, *of_flax = case.split("-")
        jax.config.update("jax_enable_x64", dtype == "float64")
        config = dataclasses.replace(CONFIG, parallel=ParallelConfig(mode="pmap" if mode == "pmap" else "jit"))
        batches = [np.arange(BATCH * i, BATCH * (i + 1), dtype=np.int32) for i in range(3)]
        found = take_steps(experiment(config, int(devices), of_flax=bool(of_flax)), batches, dtype)
        if jax.process_index() == 0:
            np.savez(folder / f"{case}.npz", **cast(Any, found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
