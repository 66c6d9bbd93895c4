"""A large matrix product in float32: what the machine can do at best, measured in the same rounds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fcnn.bench.job import Job

SIZE = 2048
FLOP = 2 * SIZE**3


def prepare(job: Job, contender: str) -> tuple[Callable[[int], None], dict[str, Any]]:
    """As `jax_side.prepare`: a step is one product."""
    matrix = jnp.ones((SIZE, SIZE))
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(product(matrix, matrix))

    return run, {}
