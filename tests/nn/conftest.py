"""JAX's strict rules while the building blocks are tested."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def no_rank_promotion():
    with jax.numpy_rank_promotion("raise"):
        yield
