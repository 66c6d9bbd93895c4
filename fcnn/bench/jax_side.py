"""Our side of a comparison, and the same network by Flax and XLA alone."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.ad_checkpoint import checkpoint_name

from fcnn import models
from fcnn.bench.job import GEMM, Job
from fcnn.distributed import sharding
from fcnn.models.trace import walk, without_hook
from fcnn.training.state import create_state
from fcnn.training.step import make_train_step
from fcnn.utils.batch import make_batch


def make_setup(job: Job, contender: str) -> tuple[Callable[[int], None], dict[str, Any]]:
    """Compiles a step.

    Returns:
      `run`, which takes that many steps and waits for them; and facts: {"compile_seconds",
      "multiply_adds" (of one image's forward pass)}.
    """
    dtype = None if job.dtype == "float32" else jnp.dtype(job.dtype)
    model = models.create(job.model, num_classes=job.classes, dtype=dtype, **job.options)
    shape = (job.image_size, job.image_size, job.channels)
    images = jax.random.normal(jax.random.key(1), (job.batch, *shape))
    optimizer = optax.sgd(0.01, momentum=0.9)
    hooks = nn.intercept_methods(without_hook) if contender == "flax" else contextlib.nullcontext()
    with hooks:
        state = create_state(model, optimizer, shape, jax.random.key(0))
        known: dict[str, Any] = {"multiply_adds": multiply_adds(model, state.variables, images)}
        began = time.perf_counter()
        if job.kind == "step":
            mesh = sharding.make_mesh(jax.devices()[:1])
            state = sharding.replicate(state, mesh)
            batch = sharding.shard(make_batch(images, jnp.arange(job.batch) % job.classes), mesh)
            step = sharding.compile_step(make_train_step(model, optimizer), state, batch, donate=True)
        else:
            forward = jax.jit(lambda variables, x: model.apply(variables, x, train=False))
            step = forward.lower(state.variables, images).compile()
    known["compile_seconds"] = time.perf_counter() - began
    latest: Any = state

    def run(steps: int) -> None:
        nonlocal latest
        if job.kind == "step":
            for _ in range(steps):
                latest, report = step(latest, batch)
            jax.block_until_ready((latest, report))
        else:
            for _ in range(steps):
                jax.block_until_ready(step(state.variables, images))

    return run, known


def make_gemm(job: Job, contender: str) -> tuple[Callable[[int], None], dict[str, Any]]:
    """Compiles a large matrix product in float32, as `make_setup` a step: what the machine reaches at best."""
    matrix = jnp.ones((GEMM, GEMM))
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(product(matrix, matrix))

    return run, {}


def multiply_adds(model: nn.Module, variables: Any, images: jax.Array) -> int:
    """Counts those of one image's forward pass."""

    def forward(variables: Any, x: jax.Array) -> jax.Array:
        return checkpoint_name(model.apply(variables, x, train=False), "logits")

    one = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    return sum(mark.multiply_adds for mark in walk(forward, variables, one))
