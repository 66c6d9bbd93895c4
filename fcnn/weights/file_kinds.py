"""What a file of weights is by its content: names mislead, `.pth.tar` is no tar archive and `.bin` may be anything."""

import zipfile
from pathlib import Path
from typing import Literal

from fcnn.utils.errors import UserError

TORCH = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar", ".pkl")
_UNPACK = "is compressed; unpack it first"
# (offset, bytes there, what the file is and what to do)
_OTHERS = (
    (0, b"version https://git-lfs", "is a pointer of Git LFS, not the weights; git lfs pull downloads them"),
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes; fcnn reads .safetensors and PyTorch's files"),
    (0, b"\x93NUMPY", "is an array of NumPy's; fcnn reads .safetensors and PyTorch's files"),
    (4, b"TFL3", "is a TensorFlow Lite model; fcnn reads .safetensors and PyTorch's files"),
    (0, b"\x1f\x8b", _UNPACK + " (gunzip)"),
    (0, b"BZh", _UNPACK),
    (0, b"\xfd7zXZ\x00", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", _UNPACK),
    (257, b"ustar", "is a tar archive; unpack it first (tar xf), or, if PyTorch 0.1 wrote it, save it by a newer one"),
)
_WEB_PAGE = "is a web page, not the weights: its link asks for a login or has moved; download the file itself"
_TEXTS = (
    (b"<!doctype html", _WEB_PAGE),
    (b"<html", _WEB_PAGE),
    (b"<?xml", _WEB_PAGE),
    (b"{", "is a text file (JSON), not the weights; give the file that it describes"),
)
# (how the name of an entry ends, what the archive is and what to do)
_ARCHIVES = (
    ("constants.pkl", "is a TorchScript archive, a program; save its weights: torch.save(torch.jit.load(FILE)."
     "state_dict(), NEW_FILE)"),
    ("data.pkl", None),
    (".npy", "is an archive of NumPy's arrays; fcnn reads .safetensors and PyTorch's files"),
    ("model.weights.h5", "is a file of Keras's; fcnn reads .safetensors and PyTorch's files"),
    ("archive_format", "is a program of torch.export; save its weights: torch.save(torch.export.load(FILE)."
     "state_dict, NEW_FILE)"),
    ("", "is a zip archive; unpack it first"),
)  # fmt: skip


def kind_of(path: Path) -> Literal["safetensors", "torch"]:
    """Returns by whose rules a file is to be read.

    Raises:
      UserError: it is something else; the message says what, and what to do.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return "torch"
    if head[:1] == b"\x80" and head[1:2] in b"\x01\x02\x03\x04\x05":
        return "torch"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    whats = [what for start, magic, what in _OTHERS if head[start:].startswith(magic)]
    whats += [what for start, what in _TEXTS if text.startswith(start)]
    suffix = path.suffix.lower()
    if suffix == ".onnx" or (head[:1] == b"\x08" and head[2:3] == b"\x12"):  # the version, who wrote it
        whats.append("is an ONNX model; save the weights that it was made from instead")
    if whats:
        raise UserError(f"{path} {whats[0]}")
    if suffix == ".safetensors":
        return "safetensors"
    if suffix in TORCH:
        return "torch"
    raise UserError(f"{path} is no file of weights that fcnn reads: .safetensors or PyTorch's (.pth, .pt, .th, ...)")


def _check_zip(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is damaged: its end is missing; download or copy it again")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise UserError(f"{path} is damaged: {ascii(str(error))[1:-1][:100]}") from None
    what = next(what for end, what in _ARCHIVES if any(name.endswith(end) for name in names) or not end)
    if what is not None:
        raise UserError(f"{path} {what}")
