"""What makes the tests of the building blocks faster."""

import jax
import pytest


@pytest.fixture(scope="module")
def unoptimized():
    """For tests whose time is compilation and whose subject isn't arithmetic to the last digit."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
