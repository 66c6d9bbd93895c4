"""What several tests need: processes of their own, the distance between two trees, networks that nobody trained."""

import atexit
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnn import models
from fcnn.config import ModelConfig
from fcnn.data import Dataset, Split
from fcnn.report import read_records
from fcnn.weights import Network, NetworkInfo

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


def start(*args: str, cwd: Path, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Starts Python in a process of its own, on one device and optimized, as a user would have it; its output is piped
    unless the options of Popen say otherwise."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)} | COMPILED
    environment |= env or {}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, *args], cwd=cwd, env=environment, text=True, **options)


def comparable(workdir: Path) -> list[dict[str, Any]]:
    """Returns a run's records without what a clock says: the same for the same run."""
    return [{k: v for k, v in r.items() if k not in ("images_per_second", "time")} for r in read_records(workdir)]


def relative_error(ours, reference) -> float:
    """||ours - reference|| / ||reference|| over all leaves, in float64."""
    ours = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(ours)])
    reference = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(reference)])
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))


def unread(load: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """`fcnn.data.load`, but that of the test split it gives the labels alone: who reads its images fails."""

    class Unread(Split):
        def __init__(self, labels: np.ndarray) -> None:
            object.__setattr__(self, "labels", labels)

        def __getattr__(self, name: str) -> Any:  # `images`, which isn't there
            raise AssertionError("the test split was read")

    def loaded(*args: Any, **options: Any) -> Dataset:
        dataset = load(*args, **options)
        return dataclasses.replace(dataset, test=Unread(dataset.test.labels))

    return loaded


MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def random_network(name="resnet20", size=32, channels=3, classes=4, **fields):
    """Random weights and running statistics, no two arrays alike; classes a, b, c, ..., aa, ..."""
    config = ModelConfig(name=name, **fields)
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = tuple(letters[i % 26] * (i // 26 + 1) for i in range(classes))
    info = NetworkInfo(model=config, classes=names, image_shape=(size, size, channels), mean=MEAN, std=STD)
    model = info.create()
    images = np.zeros((1, size, size, 3), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    return Network(info=info, variables=random_variables(dict(shapes)))


def families():
    """(name, image size): one architecture of each file, the one that comes first, on images as small as they can be;
    and three more."""
    seen = {}
    for name in models.names():
        seen.setdefault(models.from_config(ModelConfig(name=name), num_classes=1).__class__.__module__, name)
    small = {"inception_v3": 299, "googlenet": 64, "alexnet": 224, "inception_v4": 75, "inception_resnet_v2": 75}
    return [(name, small.get(name, 64)) for name in (*seen.values(), "densenet121", "resnet50d", "convnext_tiny")]


def random_variables(shapes):
    """Weights and running statistics of these shapes, no two arrays alike."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            return rng.normal(size=leaf.shape, scale=np.prod(leaf.shape[:-1]) ** -0.5).astype(np.float32)
        low, high = {"var": (0.5, 2), "scale": (0.5, 1.5)}.get(kind, (-0.5, 0.5))
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)
