"""`held_out.npz` in a run's folder: what its network says about images that it was not fitted to, for calibration.

Arrays: `logits` (N, classes) float32, `labels` (N,) int32, `paths` (N,) str, "" where an image has no file; where
fine-tuning was cross-validated, also `nearest` (N,) float32, the similarity of each image's features to the nearest
class (`fcnn.calibration.unknown`).
"""

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcnn.distributed import processes
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes

FILE = "held_out.npz"
TUNED_FOLDS = 3
"""Of the training images, where fine-tuning is cross-validated."""


class HeldOut(NamedTuple):
    """What the file holds."""

    logits: np.ndarray
    labels: np.ndarray
    paths: Sequence[str] | np.ndarray = ()
    """Not read again."""
    nearest: np.ndarray | None = None


def write_held_out(workdir: Path, held_out: HeldOut) -> None:
    """Writes it, whole or not at all, in the first process."""
    if processes.is_first():
        arrays = {
            "logits": held_out.logits.astype(np.float32),
            "labels": held_out.labels.astype(np.int32),
            "paths": np.asarray(held_out.paths, str),
        }
        arrays |= {} if held_out.nearest is None else {"nearest": held_out.nearest.astype(np.float32)}
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
            nearest = _array(archive, "nearest.npy") if "nearest.npy" in archive.namelist() else None
        if logits.shape != (*labels.shape, num_classes) or (logits.dtype, labels.dtype) != (np.float32, np.int32):
            raise ValueError(f"logits of shape {logits.shape}, labels of shape {labels.shape}")
        if not np.isfinite(logits).all() or not np.isin(labels, range(num_classes)).all():
            raise ValueError("logits that are not finite, or labels of no class")
        if nearest is not None and (nearest.shape != labels.shape or not np.isfinite(nearest).all()):
            raise ValueError("similarities that are not finite, or not one for each label")
    except Exception as error:  # whatever a damaged file makes NumPy raise
        raise UserError(f"{path} is damaged: {str(error)[:200]}") from None
    return HeldOut(logits, labels, nearest=nearest)


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
