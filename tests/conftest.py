"""Tests run on four fake CPU devices, with everything strict that can be: ranks, and warnings (pyproject.toml)."""

import atexit
import os
import shutil
import tempfile

# Unoptimized programs compile in a quarter of the time, and most tests compile more than they compute.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
os.environ["JAX_PLATFORMS"] = "cpu"
if "TFDS_DATA_DIR" not in os.environ:  # read when TFDS is imported; what tests prepare stays out of the home folder
    os.environ["TFDS_DATA_DIR"] = tempfile.mkdtemp(prefix="fcnn-tests-")
    atexit.register(shutil.rmtree, os.environ["TFDS_DATA_DIR"], ignore_errors=True)

import subprocess
from pathlib import Path

import hypothesis
import jax
import pytest
from harness import start

jax.config.update("jax_numpy_rank_promotion", "raise")
# The same examples every time, and no deadline: the first call of a shape compiles.
hypothesis.settings.register_profile("fcnn", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("fcnn")


@pytest.fixture(scope="session")
def fcnn():
    """Runs the command line in a process of its own: `fcnn("train", "--config", "resnet", cwd=folder)`."""

    def run(*args: str, cwd: Path, env: dict[str, str] | None = None, program: str = "-m fcnn"):
        with start(*program.split(), *args, cwd=cwd, env=env) as process:
            out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run
