"""The photographs of a run, decoded, and how good logits are on them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcnn.data.decode import ignore_warnings
from fcnn.data.manifest import Manifest
from fcnn.data.parallel import each, no_progress
from fcnn.data.streamed import Files
from fcnn.training import workdir


class Photos(NamedTuple):
    """Images and their labels."""

    images: np.ndarray
    """(N, H, W, 3) uint8."""
    labels: np.ndarray
    """(N,) int64."""


class RunPhotos:
    """The images of a run: of the same splits and, unless another is asked for, the same size."""

    def __init__(self, root: Path, run: Path) -> None:
        self._root, self._config = root, workdir.read_config(run)
        self._manifest = Manifest.from_csv(workdir.read_splits(run), str(run / workdir.SPLITS))
        self.classes, self.size = self._manifest.classes, self._config.data.image_size or 0
        facts = workdir.read_data(run) or {}
        self._value_range = self._config.data.value_range or facts.get("value_range")  # named, or measured by the run

    def read(self, *splits: str, size: int | None = None) -> Photos:
        """Decodes the images of splits; UserError if one can't be read."""
        rows = [row for row in self._manifest.rows if row.split in splits]
        files = Files(self._root, tuple(row.path for row in rows), size or self.size, 3, "", self._value_range)
        with ignore_warnings():
            images = each(files.decode, range(len(rows)), "decoding", no_progress)
        labels = [self.classes.index(row.name) for row in rows]
        return Photos(np.asarray(images, np.uint8).reshape(files.shape), np.asarray(labels, np.int64))


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Returns {"top1" (0 to 1), "loss" (cross-entropy), "count"} of logits (N, classes), whoever computed them."""
    import jax.numpy as jnp  # PyTorch's side doesn't need JAX before

    from fcnn.training.metrics import compute_metrics

    sums = compute_metrics(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(len(labels), bool))
    return {"top1": float(sums.top1 / sums.count), "loss": float(sums.loss / sums.count), "count": len(labels)}
