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
import sys
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# The same examples every time, and no deadline: the first call of a shape compiles.
hypothesis.settings.register_profile("fcnn", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("fcnn")

ROOT = Path(__file__).parent.parent

# Processes of one test session compile each program once: JAX's persistent cache, in a folder of the session's own.
COMPILED = {
    "JAX_COMPILATION_CACHE_DIR": tempfile.mkdtemp(prefix="fcnn-tests-compiled-"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
atexit.register(shutil.rmtree, COMPILED["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


def start(*args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts Python in a process of its own, on one device and optimized, as a user would have it."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)} | COMPILED
    environment |= env or {}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *args], cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture(scope="session")
def fcnn():
    """Runs the command line in a process of its own: `fcnn("train", "--config", "resnet", cwd=folder)`."""

    def run(*args: str, cwd: Path, env: dict[str, str] | None = None, program: str = "-m fcnn"):
        with start(*program.split(), *args, cwd=cwd, env=env) as process:
            out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run


def relative_error(ours, reference) -> float:
    """||ours - reference|| / ||reference|| over all leaves, in float64."""
    ours = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(ours)])
    reference = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(reference)])
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))
