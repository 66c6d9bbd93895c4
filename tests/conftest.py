"""Tests run on four fake CPU devices, with everything strict that can be: ranks, and warnings (pyproject.toml)."""

import os

# Unoptimized programs compile in a quarter of the time, and most tests compile more than they compute.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
os.environ["JAX_PLATFORMS"] = "cpu"

import ctypes
import gc
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import jax
import psutil
import pytest
from harness import shared_folder, start

from fcnn.config import DataConfig
from fcnn.data import load

os.environ["XDG_CACHE_HOME"] = shared_folder("FCNN_TESTS_CACHE")
shared_folder("TFDS_DATA_DIR")  # read when TFDS is imported; what tests prepare stays out of the home folder
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tests that train the same network compile it once. A folder for each worker: JAX writes its cache without a lock.
worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
jax.config.update("jax_compilation_cache_dir", f"{shared_folder('FCNN_TESTS_COMPILED_HERE')}/{worker}")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
# The same examples every time, and no deadline: the first call of a shape compiles.
hypothesis.settings.register_profile("fcnn", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("fcnn")


# A shell that isn't interactive starts what it puts in the background with Ctrl-C ignored, nohup ignores SIGHUP, and
# processes of tests would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


LONG = ("test_resume.py", "test_readme.py", "test_cli.py", "test_pipeline.py", "test_trainer.py", "test_models.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, so that no process waits at the end for another one's."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_configure(config: pytest.Config) -> None:
    """Prepares the digits before the worker processes could do it at the same time."""
    if not hasattr(config, "workerinput"):
        load(DataConfig())


LARGE = 4 << 30
"""Bytes of a test process; two of them, and what they start, must fit in 16 GiB."""


@pytest.fixture(autouse=True)
def forget_programs():
    """JAX keeps every program that it compiled, and those of large networks add up to more memory than there is."""
    yield
    if psutil.Process().memory_info().rss > LARGE:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":  # a test may have had malloc keep what is freed (fcnn/runtime/memory.py)
            ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def fcnn():
    """Runs the command line in a process of its own: `fcnn("train", "--config", "resnet", cwd=folder)`."""

    def run(*args: str, cwd: Path, env: dict[str, str] | None = None, program: str = "-m fcnn"):
        with start(*program.split(), *args, cwd=cwd, env=env) as process:
            out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run
