"""JAX's strict rules while the building blocks are tested."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def no_rank_promotion():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def unoptimized():
    """For tests whose time is compilation and whose subject isn't arithmetic to the last digit."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
