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


def relative_error(ours, reference) -> float:
    """||ours - reference|| / ||reference|| over all leaves, in float64."""
    ours = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(ours)])
    reference = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(reference)])
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))
