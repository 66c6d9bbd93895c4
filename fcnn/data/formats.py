"""Reading the formats in which the classic sets are published: MNIST's idx, CIFAR's records and CIFAR's pickles.

Files come from strangers: nothing is extracted to disk, and no pickle can name anything but NumPy's arrays.
"""

import gzip
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, H, W, C) uint8 and labels (N,) int32."""


def read_idx(images: Path, labels: Path) -> Arrays:
    """Reads a pair of idx files, gzipped or not; ValueError if they aren't what they should be."""
    pixels, classes = _idx(images), _idx(labels)
    if pixels.ndim != 3 or classes.ndim != 1 or len(pixels) != len(classes):
        raise ValueError(f"{images.name} holds {pixels.shape}, {labels.name} {classes.shape}")
    return pixels[..., None], classes.astype(np.int32)


def _idx(path: Path) -> np.ndarray:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    # Two zeros, the type (8: uint8), the number of dimensions, then each as 4 bytes, high byte first.
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path.name} is not an idx file of bytes")
    start = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    if len(data) - start != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path.name} should hold {shape} bytes and holds {len(data) - start}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_cifar(source: Path, *, fine: bool) -> dict[str, Arrays]:
    """Reads both splits of CIFAR-10, or of CIFAR-100 with its `fine` labels, from either version, archive or folder.

    Raises:
      ValueError, KeyError, OSError, tarfile.TarError, pickle.UnpicklingError: what is there isn't CIFAR.
    """
    if source.is_dir():
        return _splits(lambda name: (source / name).read_bytes() if (source / name).is_file() else None, fine)
    with tarfile.open(source) as archive:
        members = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}

        def read(name: str) -> bytes | None:
            member = archive.extractfile(members[name]) if name in members else None
            return None if member is None else member.read()

        return _splits(read, fine)


def _splits(read: Callable[[str], bytes | None], fine: bool) -> dict[str, Arrays]:
    names = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
    if fine:
        names = {"train": ["train"], "test": ["test"]}
    splits = {}
    for split, parts in names.items():
        images, labels = zip(*(_batch(read, part, fine) for part in parts), strict=True)
        splits[split] = np.concatenate(images), np.concatenate(labels)
    return splits


def _batch(read: Callable[[str], bytes | None], name: str, fine: bool) -> Arrays:
    """Reads one file: records of label bytes and 3072 pixels, or a pickled dict of the same."""
    if (data := read(f"{name}.bin")) is not None:
        record = 3074 if fine else 3073
        if len(data) % record:
            raise ValueError(f"{name}.bin is cut short: {len(data)} bytes are not a multiple of {record}")
        rows = np.frombuffer(data, np.uint8).reshape(-1, record)
        labels, pixels = rows[:, record - 3073], rows[:, record - 3072 :]
    elif (data := read(name)) is not None:
        batch = unpickle_arrays(data)
        pixels, labels = batch[b"data"], np.asarray(batch[b"fine_labels" if fine else b"labels"])
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
            raise ValueError(f"{name} does not hold 3072 bytes for each label")
    else:
        raise ValueError(f"neither {name}.bin nor {name} is there")
    # Stored as planes: (N, 3, 32, 32).
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.int32)


def unpickle_arrays(data: bytes) -> dict[bytes, Any]:
    """Reads a pickled dict of plain values and NumPy arrays; UnpicklingError if the pickle names anything else."""
    content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("not a dict")
    return {key.encode() if isinstance(key, str) else key: value for key, value in content.items()}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows NumPy's arrays and nothing else: a pickle runs whatever it can name."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[str, Any] = {
            "numpy.core.multiarray._reconstruct": lambda *_: np.ndarray((0,), np.uint8),  # its state is set later
            "numpy._core.multiarray._reconstruct": lambda *_: np.ndarray((0,), np.uint8),
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": _dtype,
            "_codecs.encode": lambda text, *_: text.encode("latin1"),
        }
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return known[f"{module}.{name}"]


def _dtype(code: Any, *_: Any) -> np.dtype:
    """Returns a type without the flags of old pickles, which NumPy warns of; objects are refused."""
    dtype = np.dtype(code.decode() if isinstance(code, bytes) else code)
    if dtype.kind not in "buif":
        raise pickle.UnpicklingError(f"an array of {dtype}")
    return dtype
