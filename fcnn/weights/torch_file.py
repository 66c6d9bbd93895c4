"""PyTorch's files without PyTorch: the zip of `torch.save` since 1.6, and the stream of pickles before.

Both hold a pickle, which describes tensors as views of storages, and the storages as plain bytes. The pickle is read by
`restricted_pickle`; a storage is read when a tensor of it is asked for, and what a tensor claims is checked against the
bytes that are there. https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

import contextlib
import dataclasses
import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from fcnn.utils.restricted_pickle import Function, inert, load, ordered_dict

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
PROTOCOL = 1001  # and its second
SPARE = 1 << 20
"""Bytes that tensors may have beyond twice the file's: broadcast ones take more than their storage."""
MAX_DIMS = 64  # NumPy's, and PyTorch's


@dataclasses.dataclass(frozen=True, eq=False)
class StorageType:
    """The type of a storage's elements; None for bytes."""

    dtype: np.dtype | None


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """Elements in a file."""

    key: str
    dtype: np.dtype | None
    start: int
    """Of the first, in bytes from where the storage `key` begins."""
    nbytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """What a file says of a tensor; shape, strides and offset are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype


@dataclasses.dataclass(frozen=True, eq=False)
class Unusual:
    """A tensor that isn't a plain array of real numbers."""

    kind: str


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor | Unusual:
    """`torch._utils._rebuild_tensor` and its second version, whose rest is requires_grad, hooks and metadata."""
    if isinstance(storage, Unusual):
        return storage
    dtype = storage.dtype or np.dtype(np.uint8)
    return _described(storage, offset, shape, strides, dtype, rest[2] if len(rest) > 2 else None)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any, metadata: Any = None
) -> Tensor | Unusual:
    """`torch._utils._rebuild_tensor_v3`, for the types that have no storage of their own."""
    return _described(storage, offset, shape, strides, dtype, metadata)


def _described(storage: Any, offset: Any, shape: Any, strides: Any, dtype: Any, metadata: Any) -> Tensor | Unusual:
    if isinstance(storage, Unusual):
        return storage
    if metadata:
        return Unusual("conjugated or negated")
    if not isinstance(storage, Storage) or not isinstance(dtype, np.dtype):
        raise ValueError("a tensor of no storage")
    if not (isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= MAX_DIMS):
        raise ValueError("a shape and strides that don't go together")
    if not all(type(number) is int and 0 <= number < 2**63 for number in (offset, *shape, *strides)):
        raise ValueError("a shape, strides or an offset of no numbers")
    if dtype.kind == "c":
        return Unusual("complex")
    return Tensor(storage, offset, shape, strides, dtype)


def _same(tensor: Any, *_: Any) -> Any:
    """A parameter is its tensor."""
    return tensor


def _subclass(function: Any, _type: Any, arguments: Any, *_: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: a tensor with attributes."""
    if not isinstance(function, Function) or function.call not in (_tensor, _tensor_v3, _same):
        raise ValueError("a tensor of another kind")
    return function.call(*arguments)


def _unusual(kind: str) -> Function:
    return Function(lambda *_: Unusual(kind))


_TYPES: dict[str, Any] = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": ml_dtypes.bfloat16,
    "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "?",
    "ComplexFloat": "c8", "ComplexDouble": "c16",
}  # fmt: skip
_NAMED_TYPES: dict[str, Any] = {
    "float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": ml_dtypes.bfloat16, "float": "f4", "double": "f8",
    "half": "f2", "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1", "uint8": "u1", "bool": "?",
    "uint16": "u2", "uint32": "u4", "uint64": "u8", "complex64": "c8", "complex128": "c16",
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
}  # fmt: skip
# Values that training scripts keep beside the weights; nothing of them is needed.
_BESIDE = (
    "argparse.Namespace", "types.SimpleNamespace", "collections.Counter", "_codecs.encode",
    "builtins.set", "builtins.frozenset", "builtins.bytearray", "builtins.complex", "builtins.slice",
    "builtins.int", "builtins.float", "builtins.str", "builtins.list", "builtins.dict", "builtins.object",
    "datetime.datetime", "datetime.timedelta", "pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath",
    "pathlib.PurePosixPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
    "copyreg._reconstructor", "builtins.range", "builtins.xrange", "builtins.long", "builtins.bytes", "builtins.tuple",
    "collections.deque",
    "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer",
    "torch.serialization._get_layout", "torch.strided", "torch.contiguous_format", "torch.channels_last",
    "torch.torch_version.TorchVersion", "numpy.ndarray", "numpy.dtype",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Int64", "Int32", "Bool")),
)  # fmt: skip
TABLE: dict[str, Any] = {
    **{f"torch.{device}{name}Storage": StorageType(np.dtype(of)) for name, of in _TYPES.items()
       for device in ("", "cuda.")},
    **{f"torch.{name}": np.dtype(of) for name, of in _NAMED_TYPES.items()},
    **{f"torch.{name}Storage": Unusual("quantized") for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")},
    "torch.storage.UntypedStorage": StorageType(None), "torch.UntypedStorage": StorageType(None),
    "torch.storage._UntypedStorage": StorageType(None),
    "torch._utils._rebuild_tensor": Function(_tensor), "torch._utils._rebuild_tensor_v2": Function(_tensor),
    "torch._utils._rebuild_tensor_v3": Function(_tensor_v3),
    "torch._utils._rebuild_parameter": Function(_same),
    "torch._utils._rebuild_parameter_with_state": Function(_same),
    "torch._tensor._rebuild_from_type_v2": Function(_subclass),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": Function(_same),
    "torch._utils._rebuild_qtensor": _unusual("quantized"),
    "torch._utils._rebuild_sparse_tensor": _unusual("sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _unusual("sparse"),
    "torch._utils._rebuild_nested_tensor": _unusual("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unusual("without numbers (meta)"),
    "torch._utils._rebuild_wrapper_subclass": _unusual("of a class of its own"),
    "torch._utils._rebuild_device_tensor_from_numpy": _unusual("of an XLA device"),
    "torch.Size": Function(_same),
    "collections.OrderedDict": Function(ordered_dict), "collections.defaultdict": Function(lambda *_: {}),
    **dict.fromkeys(_BESIDE, Function(inert)),
    **dict.fromkeys(("torch.per_tensor_affine", "torch.per_tensor_symmetric", "torch.per_channel_affine",
                     "torch.per_channel_symmetric", "torch.per_channel_affine_float_qparams",
                     "torch.sparse_coo", "torch.sparse_csr"), inert()),
}  # fmt: skip


def _persistent(identity: Any) -> Storage | Unusual:
    """("storage", type, key, device, number of elements), in the older format with a view of another storage or None:
    (key, first element, number of elements)."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("an object outside the pickle that is no storage")
    kind, key, count = identity[1], identity[2], identity[4]
    if isinstance(kind, Unusual):
        return kind
    first = 0
    if len(identity) == 6 and identity[5] is not None:
        _, first, count = identity[5]
    numbers = all(type(number) is int and 0 <= number < 2**62 for number in (first, count))
    if not isinstance(kind, StorageType) or not isinstance(key, str) or not numbers:
        raise ValueError("a storage that isn't described as one")
    size = 1 if kind.dtype is None else kind.dtype.itemsize
    return Storage(key, kind.dtype, first * size, count * size)


class TorchFile:
    """What is in a file of PyTorch's."""

    def __init__(self, tree: Any, size: int, read: Callable[[str], Any], swapped: bool = False) -> None:
        self.tree = tree
        """Dicts, lists and plain values as they were saved, with a `Tensor` or an `Unusual` in place of each tensor."""
        self._left = 2 * size + SPARE
        self._read, self._swapped = read, swapped
        self._bytes: dict[str, Any] = {}

    def array(self, tensor: Tensor) -> np.ndarray:
        """The numbers of a tensor, read-only; tensors that share a storage share it here.

        Raises:
          ValueError: it reaches beyond its storage, or takes much more memory than the file.
        """
        storage, dtype = tensor.storage, tensor.dtype
        if storage.key not in self._bytes:
            self._bytes[storage.key] = memoryview(self._read(storage.key)).toreadonly()
        data = self._bytes[storage.key][storage.start : storage.start + storage.nbytes]
        if len(data) != storage.nbytes:
            raise ValueError("a storage of another length")
        self._left -= math.prod(tensor.shape) * dtype.itemsize
        if self._left < 0:
            raise ValueError("tensors that are larger than the file")
        if 0 in tensor.shape:
            return np.empty(tensor.shape, dtype)
        # NumPy compares shape, strides and offset with the buffer once more.
        reach = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        if (reach + 1) * dtype.itemsize > len(data):
            raise ValueError("a tensor that reaches beyond its storage")
        steps = [stride * (n > 1) for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
        strides = tuple(step * dtype.itemsize for step in steps)
        array = np.ndarray(tensor.shape, dtype, data, tensor.offset * dtype.itemsize, strides)
        return array.byteswap() if self._swapped else array


@contextlib.contextmanager
def open_torch(path: Path) -> Iterator[TorchFile]:
    """A file of either format.

    Raises:
      Refused: its pickle names something that isn't data.
      zipfile.BadZipFile, struct.error, and what `restricted_pickle.load` raises: it is damaged or something else.
    """
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            yield _from_zip(archive, path.stat().st_size)
    else:
        yield _from_stream(path.read_bytes())


def _from_zip(archive: zipfile.ZipFile, size: int) -> TorchFile:
    """What `torch.save` writes since PyTorch 1.6: data.pkl, and a file for each storage, all in one folder."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed, as PyTorch's files never are")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its parts are larger than the file")
    names = dict.fromkeys(entry.filename for entry in entries)
    if len(names) < len(entries) or sum(name.endswith("/data.pkl") for name in names) > 1:
        raise ValueError("it has two parts of one name")
    root = next((name for name in names if name.endswith("/data.pkl")), "/data.pkl").removesuffix("data.pkl")
    tree = load(io.BytesIO(archive.read(f"{root}data.pkl")), TABLE, _persistent)
    order = archive.read(f"{root}byteorder") if f"{root}byteorder" in names else b"little"
    return TorchFile(tree, size, lambda key: archive.read(f"{root}data/{key}"), order == b"big")


def _from_stream(data: bytes) -> TorchFile:
    """What PyTorch wrote before: pickles one after another, then the storages, each after its length."""
    file, sizes = io.BytesIO(data), {}

    def persistent(identity: Any) -> Storage | Unusual:
        storage = _persistent(identity)
        if isinstance(storage, Unusual):
            raise ValueError(f"a {storage.kind} storage, of unknown length")
        dtype = identity[1].dtype
        sizes[identity[2]] = 1 if dtype is None else dtype.itemsize
        return storage

    if load(file, TABLE, persistent) != MAGIC:
        raise ValueError("a pickle that PyTorch didn't write")
    if load(file, TABLE, persistent) != PROTOCOL:
        raise ValueError("another version of the format")
    load(file, TABLE, persistent)  # about the machine; the storages have the lowest byte first on any
    tree, keys = load(file, TABLE, persistent), load(file, TABLE, persistent)
    view, place, places = memoryview(data), file.tell(), {}
    for key in keys:
        (count,) = struct.unpack_from("<q", data, place)
        places[key] = slice(place + 8, place + 8 + count * sizes[key])
        if count < 0 or places[key].stop > len(data):
            raise ValueError("a storage that the file isn't long enough for")
        place = places[key].stop
    return TorchFile(tree, len(data), lambda key: view[places[key]])
