"""A large matrix product in float32: what the machine can do at best, measured in the same rounds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fcnn.bench.job import GEMM, Job


def make_setup(job: Job, contender: str) -> tuple[Callable[[int], None], dict[str, Any]]:
    """As `jax_side.prepare`: a step is one product."""
    matrix = jnp.ones((GEMM, GEMM))
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(product(matrix, matrix))

    return run, {}
