"""`held_out.npz` in a run's folder: what its network says about images that it was not fitted to, for calibration.

Arrays: `logits` (N, classes) float32, `labels` (N,) int32, `paths` (N,) str, "" where an image has no file.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fcnn.distributed import processes
from fcnn.utils.files import write_bytes

FILE = "held_out.npz"


def write_held_out(workdir: Path, logits: np.ndarray, labels: np.ndarray, paths: Sequence[str]) -> None:
    """Writes it, whole or not at all, in the first process."""
    if processes.is_first():
        buffer = io.BytesIO()
        np.savez(
            buffer,
            logits=logits.astype(np.float32),
            labels=labels.astype(np.int32),
            paths=np.asarray(paths, str),
        )
        write_bytes(workdir / FILE, buffer.getvalue())
