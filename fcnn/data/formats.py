"""Reading the formats in which the classic sets are published: MNIST's idx, CIFAR's records and CIFAR's pickles.

Files come from strangers: nothing is extracted to disk, no pickle can name anything but NumPy's arrays, and what a file
unpacks to is bounded before it is unpacked.
"""

import gzip
import io
import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from fcnn.utils.restricted_pickle import Function, Inert, Refused, Stateful, load

Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, H, W, C) uint8 and labels (N,) int32."""
MAX_BYTES = 256 << 20
"""Of a file, unpacked: CIFAR-100's training split, the largest, has 154 MB."""
_BLOCK = 1 << 20


def read_idx(images: Path, labels: Path) -> Arrays:
    """Reads a pair of idx files, gzipped or not; ValueError if they aren't what they should be."""
    pixels, classes = _idx(images), _idx(labels)
    if pixels.ndim != 3 or classes.ndim != 1 or len(pixels) != len(classes):
        raise ValueError(f"{images.name} holds {pixels.shape}, {labels.name} {classes.shape}")
    return pixels[..., None], classes.astype(np.int32)


def _idx(path: Path) -> np.ndarray:
    with path.open("rb") as stored:
        packed = stored.read(2) == b"\x1f\x8b"
        stored.seek(0)
        file: Any = gzip.GzipFile(fileobj=stored) if packed else stored
        # Two zeros, the type (8: uint8), the number of dimensions, then each as 4 bytes, high byte first.
        head = file.read(4)
        if len(head) < 4 or head[:3] != b"\x00\x00\x08" or head[3] not in (1, 3):
            raise ValueError(f"{path.name} is not an idx file of bytes")
        shape = tuple(int(n) for n in np.frombuffer(file.read(4 * head[3]), ">u4"))
        size = math.prod(shape)
        data = _read(file, size + 1) if size <= MAX_BYTES else b""
    if len(data) != size:
        held = "more" if len(data) > size else f"{len(data)}"
        raise ValueError(f"{path.name} should hold {shape} bytes and holds {held}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read(file: IO[bytes], size: int) -> bytes:
    """Returns what is left of a file, at most `size` bytes, without memory for more than is there."""
    data = bytearray()
    while len(data) < size and (block := file.read(min(_BLOCK, size - len(data)))):
        data += block
    return bytes(data)


def _whole(file: IO[bytes], name: str) -> bytes:
    """Returns what is left of a file; ValueError if it is more than MAX_BYTES."""
    data = _read(file, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{name} is larger than any file of CIFAR")
    return data


def read_cifar(source: Path, *, fine: bool) -> dict[str, Arrays]:
    """Reads both splits of CIFAR-10, or of CIFAR-100 with its `fine` labels, from either version, archive or folder.

    Raises:
      ValueError, TypeError, LookupError, AttributeError, OSError, tarfile.TarError: what is there isn't CIFAR.
    """

    def read_file(name: str) -> bytes | None:
        if not (source / name).is_file():
            return None
        with (source / name).open("rb") as file:
            return _whole(file, name)

    if not source.name.endswith(".tar.gz"):
        return _splits(read_file, fine)
    with tarfile.open(source) as archive:
        members = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}

        def read_member(name: str) -> bytes | None:
            member = archive.extractfile(members[name]) if name in members else None
            return None if member is None else _whole(member, name)

        return _splits(read_member, fine)


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
        pixels, labels = unpickle_batch(data, "fine_labels" if fine else "labels")
        if pixels.shape != (len(labels), 3072):
            raise ValueError(f"{name} does not hold 3072 bytes for each label")
    else:
        raise ValueError(f"neither {name}.bin nor {name} is there")
    # Stored as planes: (N, 3, 32, 32).
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.int32)


class _DType(Stateful):
    """A NumPy type in a pickle, by its code: "u1"."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code


class _Array(Stateful):
    """A NumPy array in a pickle; its state is (version, shape, type, whether columns come first, bytes)."""

    def __init__(self, *_: Any) -> None:
        pass

    def bytes(self) -> np.ndarray:
        """Returns an array of bytes; ValueError if it holds anything else."""
        _, shape, dtype, by_columns, data = self.state
        if not isinstance(dtype, _DType) or dtype.code not in ("u1", b"u1") or by_columns:
            raise ValueError("an array of other than bytes")
        return np.frombuffer(data, np.uint8).reshape(shape)


_TABLE: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": Function(_Array),
    "numpy._core.multiarray._reconstruct": Function(_Array),
    "numpy.ndarray": Inert(),
    "numpy.dtype": Function(_DType),
    "_codecs.encode": Function(lambda text, *_: text.encode("latin1")),
}


def unpickle_batch(data: bytes, labels: str) -> Arrays:
    """Reads a pickled dict with "data", rows of bytes, and a list of labels.

    Returns:
      (rows (N, M) uint8, labels (N,) uint8).

    Raises:
      ValueError, TypeError, LookupError, AttributeError: it is something else, or damaged.
    """
    try:
        content = load(io.BytesIO(data), _TABLE, old_text=bytes)
    except Refused as error:
        raise ValueError(f"it wants to call {error}") from None
    if not isinstance(content, dict):
        raise ValueError("no dict is pickled there")
    batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    numbers, rows = batch[labels], batch["data"]
    if not isinstance(numbers, list) or not isinstance(rows, _Array):
        raise ValueError("its data must be an array and its labels a list")
    if not all(type(number) is int and 0 <= number < 256 for number in numbers):
        raise ValueError("its labels must be numbers below 256")
    return rows.bytes(), np.asarray(numbers, np.uint8)
