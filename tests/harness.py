"""What several tests need: processes of their own, and the distance between two trees."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parent.parent


def shared_folder(variable: str) -> str:
    """A folder for all processes of one test session, named by an environment variable; its first one removes it."""
    if variable not in os.environ:
        os.environ[variable] = tempfile.mkdtemp(prefix="fcnn-tests-")
        atexit.register(shutil.rmtree, os.environ[variable], ignore_errors=True)
    return os.environ[variable]


# Each program is compiled once for all processes that a test starts: JAX's persistent cache.
COMPILED = {
    "JAX_COMPILATION_CACHE_DIR": shared_folder("FCNN_TESTS_COMPILED"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def start(*args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts Python in a process of its own, on one device and optimized, as a user would have it."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)} | COMPILED
    environment |= env or {}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *args], cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


def relative_error(ours, reference) -> float:
    """||ours - reference|| / ||reference|| over all leaves, in float64."""
    ours = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(ours)])
    reference = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(reference)])
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))
