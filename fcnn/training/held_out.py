"""`held_out.npz` in a run's folder: what its network, or networks trained like it on other images, say about images
that they were not fitted to, for calibration.

Arrays: `logits` (N, classes) float32, `labels` (N,) int32, `paths` (N,) str, "" where an image has no file; where
fine-tuning was cross-validated, also `nearest` (N,) float32, the similarity of each image's features to the nearest
class (`fcnn.calibration.unknown`), and `steps` (1,) int64, the length of the run that it is about.
"""

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcnn.distributed import processes
from fcnn.training.workdir import HELD_OUT as FILE
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes

TUNED_FOLDS = 3
"""Of the training images, where fine-tuning is cross-validated."""


class HeldOut(NamedTuple):
    """What the file holds."""

    logits: np.ndarray
    labels: np.ndarray
    paths: Sequence[str] | np.ndarray = ()
    """Not read again."""
    nearest: np.ndarray | None = None
    steps: int | None = None

    def is_of(self, step: int) -> bool:
        """Whether fine-tuning was cross-validated, for so many steps."""
        return self.nearest is not None and self.steps == step


def write_held_out(workdir: Path, held_out: HeldOut) -> None:
    """Writes it, whole or not at all, in the first process."""
    if processes.is_first():
        arrays = {
            "logits": held_out.logits.astype(np.float32),
            "labels": held_out.labels.astype(np.int32),
            "paths": np.asarray(held_out.paths, str),
        }
        if held_out.nearest is not None:
            arrays |= {"nearest": held_out.nearest.astype(np.float32), "steps": np.asarray([held_out.steps], np.int64)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_bytes(workdir / FILE, buffer.getvalue())


def read_held_out(workdir: Path, num_classes: int) -> HeldOut:
    """Returns the file's arrays without the paths; N is 0 where there is no file.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / FILE
    if not path.is_file():
        return HeldOut(np.zeros((0, num_classes), np.float32), np.zeros(0, np.int32))
    try:
        with zipfile.ZipFile(path) as archive:
            logits, labels = (_array(archive, f"{name}.npy") for name in ("logits", "labels"))
            is_tuned = "nearest.npy" in archive.namelist()
            nearest, steps = (_array(archive, f"{n}.npy") if is_tuned else None for n in ("nearest", "steps"))
        if logits.shape != (*labels.shape, num_classes) or (logits.dtype, labels.dtype) != (np.float32, np.int32):
            raise ValueError(f"logits of shape {logits.shape}, labels of shape {labels.shape}")
        if not np.isfinite(logits).all() or not np.isin(labels, range(num_classes)).all():
            raise ValueError("logits that are not finite, or labels of no class")
        if nearest is not None and (nearest.shape != labels.shape or not np.isfinite(nearest).all()):
            raise ValueError("similarities that are not finite, or not one for each label")
        if steps is not None and (steps.shape != (1,) or steps.dtype != np.int64):
            raise ValueError(f"steps of shape {steps.shape} and type {steps.dtype}")
    except Exception as error:  # whatever a damaged file makes NumPy raise
        raise UserError(f"{path} is damaged: {str(error)[:200]}") from None
    return HeldOut(logits, labels, nearest=nearest, steps=None if steps is None else int(steps[0]))


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Returns an array as `np.savez` writes it; ValueError if it has another size than it says."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed")
    file = io.BytesIO(archive.read(entry))
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of the format")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    data = file.read()
    if by_columns or dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{name} should hold {shape} of {dtype} and holds {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)
