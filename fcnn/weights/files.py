"""Files of weights, whoever wrote them, as arrays by name: nothing in such a file is ever run.

safetensors is a header and numbers. PyTorch's own format is a pickle, a program by nature: `restricted_pickle` reads it
as data, which knows tensors and plain values and refuses whatever else the file asks for.
"""

import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fcnn.distributed.device_memory import check_file
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes
from fcnn.utils.restricted_pickle import Refused
from fcnn.weights.file_kinds import kind_of
from fcnn.weights.state_dicts import find_state_dict
from fcnn.weights.torch_file import open_torch

# What reading a file that isn't what it seems to be may raise.
DAMAGED = (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError,
           NotImplementedError, RuntimeError, MemoryError, OverflowError)  # fmt: skip
ENTRY = "fcnn"  # the header's entry that says which network the arrays are of


def read_arrays(
    path: Path, *, ema: bool = True, log: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays in a file of weights, and what fcnn wrote beside them.

    Args:
      path: .safetensors, or PyTorch's, whatever its name.
      ema: whether to take averaged weights (EMA) where a training script saved both.
      log: gets a line about what was chosen among what is in the file.

    Returns:
      (arrays by name, floats of any kind as float32; fcnn's entry in the header, or None if fcnn didn't write it).

    Raises:
      UserError: there is no such file, it is damaged or no file of weights, or it would run code.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        kind = kind_of(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    check_file(path)
    arrays, header = _read_safetensors(path) if kind == "safetensors" else (_read_torch(path, ema, log), None)
    if odd := [name for name in arrays if not name.isprintable()]:
        raise UserError(f"{path} is damaged: an array is called {ascii(odd[0])[:100]}")
    arrays = {name: _plain(array) for name, array in arrays.items()}
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise UserError(f"{path} holds numbers that are not finite: {', '.join(broken[:3])}")
    return arrays, header


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], header: str) -> None:
    """Writes a .safetensors file, whole or not at all; the same arrays give the same bytes."""
    from safetensors.numpy import save

    # One entry: safetensors writes several in any order.
    write_bytes(path, save(dict(arrays), metadata={ENTRY: header}))


def _plain(array: np.ndarray) -> np.ndarray:
    """float16, bfloat16 and float64 as float32; integers as they are."""
    return array if array.dtype.kind in "iub" else array.astype(np.float32, copy=False)


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    # Registers bfloat16 and the like with NumPy, by whose names safetensors asks for them.
    import ml_dtypes  # noqa: F401
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            # What sizes, offsets and lengths can be wrong is checked when the file is opened.
            return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get(ENTRY)  # noqa: SIM118
    # The last four: types that NumPy hasn't, shapes that it can't have.
    except (SafetensorError, OSError, AttributeError, TypeError, ValueError, MemoryError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ").splitlines() or [type(error).__name__]
        raise UserError(f"{path} is damaged or no safetensors file: {reason[0][:200]}") from None


def _read_torch(path: Path, ema: bool, log: Callable[[str], None]) -> dict[str, np.ndarray]:
    try:
        with open_torch(path) as file:
            tensors = find_state_dict(file.tree, path, ema=ema, log=log)
            return {name: file.array(tensor) for name, tensor in tensors.items()}
    except Refused as error:
        raise UserError(
            f"{path} is refused: it holds more than weights ({error}), and loading it could run anything. PyTorch "
            "writes weights alone by torch.save(model.state_dict(), FILE)"
        ) from None
    except DAMAGED as error:
        reason = ascii(str(error) or type(error).__name__)[1:-1][:100]
        raise UserError(f"{path} is damaged or no file of PyTorch's: {reason}") from None
