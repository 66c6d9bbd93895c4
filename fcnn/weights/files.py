"""Files of weights, whoever wrote them, as arrays by name: nothing in such a file is ever run.

safetensors is a header and numbers. PyTorch's own format is a pickle, a program by nature: `restricted_pickle` reads it
as data, which knows tensors and plain values and refuses whatever else the file asks for.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.errors import UserError
from fcnn.files import write_bytes
from fcnn.weights.restricted_pickle import Refused
from fcnn.weights.torch_file import Tensor, Unusual, open_torch

TORCH = (".pth", ".pt", ".th")
KINDS = (".safetensors", *TORCH)
# Where training scripts keep the state_dict among the optimizer's state and whatever else they save.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")
# What data-parallel training and torch.compile put before every name.
PREFIXES = ("module.", "_orig_mod.")
# What reading a file that isn't what it seems to be may raise.
DAMAGED = (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError,
           NotImplementedError, RuntimeError, MemoryError, OverflowError)  # fmt: skip
OURS = "fcnn"  # the header's entry that tells which network the numbers are


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays in a file of weights, and what fcnn wrote beside them.

    Args:
      path: .safetensors, or PyTorch's .pth, .pt or .th.

    Returns:
      (arrays by name, floats of any kind as float32; fcnn's entry in the header, or None if fcnn didn't write it).

    Raises:
      UserError: there is no such file, it is damaged or no file of weights, or it would run code.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.suffix not in KINDS:
        raise UserError(f"{path}: weights are read from {', '.join(KINDS)}")
    arrays, ours = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_torch(path), None)
    arrays = {name: _plain(array) for name, array in arrays.items()}
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise UserError(f"{path} holds numbers that are not finite: {', '.join(broken[:3])}")
    return arrays, ours


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], ours: str) -> None:
    """Writes a .safetensors file, whole or not at all; the same arrays give the same bytes."""
    from safetensors.numpy import save

    # One entry: safetensors writes several in any order.
    write_bytes(path, save(dict(arrays), metadata={OURS: ours}))


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
            return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get(OURS)  # noqa: SIM118
    # The last four: types that NumPy hasn't, shapes that it can't have.
    except (SafetensorError, OSError, AttributeError, TypeError, ValueError, MemoryError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ").splitlines() or [type(error).__name__]
        raise UserError(f"{path} is damaged or no safetensors file: {reason[0][:200]}") from None


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        with open_torch(path) as file:
            return {name: file.array(tensor) for name, tensor in _state_dict(file.tree, path).items()}
    except Refused as error:
        raise UserError(
            f"{path} is refused: it holds more than weights ({error}), and loading it could run anything. PyTorch "
            "writes weights alone by torch.save(model.state_dict(), FILE)"
        ) from None
    except DAMAGED as error:
        reason = ascii(str(error) or type(error).__name__)[1:-1][:100]
        raise UserError(f"{path} is damaged or no file of PyTorch's: {reason}") from None


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state_dict in what a file holds, under the names that the bare network has."""

    def tensors(value: Any) -> bool:
        return isinstance(value, dict) and any(isinstance(item, Tensor | Unusual) for item in value.values())

    if isinstance(loaded, dict):
        loaded = next((loaded[name] for name in WRAPPERS if tensors(loaded.get(name))), loaded)
    if not tensors(loaded):
        raise UserError(f"{path} holds no state_dict: neither by itself nor as {', '.join(WRAPPERS)}")
    if unusual := [(name, value.kind) for name, value in loaded.items() if isinstance(value, Unusual)]:
        raise UserError(f"{path}: {unusual[0][0]} is {unusual[0][1]}; weights are plain arrays of real numbers")
    if other := [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]:
        raise UserError(f"{path} holds a state_dict with more in it than arrays: {', '.join(other[:3])}")
    while (prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in loaded)), None)) is not None:
        loaded = {name.removeprefix(prefix): tensor for name, tensor in loaded.items()}
    return loaded
