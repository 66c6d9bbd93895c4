"""ONNX Runtime Web, which runs the network in the page: two files of its npm package, known by their hashes."""

import base64
import dataclasses
import hashlib
from pathlib import Path

from fcnn.utils.errors import UserError

VERSION = "1.30.0"
ADDRESS = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist/"
"""Where npm's files are served byte for byte."""


@dataclasses.dataclass(frozen=True)
class RuntimeFile:
    """A file of the runtime."""

    id: str
    """Of the element that holds it in a page."""
    name: str
    integrity: str
    """As Subresource Integrity writes it: the browser refuses any other content."""

    @property
    def url(self) -> str:
        return ADDRESS + self.name


SCRIPT = RuntimeFile(
    "runtime-script",
    "ort.wasm.bundle.min.mjs",
    "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
)
WASM = RuntimeFile(
    "runtime-wasm",
    "ort-wasm-simd-threaded.wasm",
    "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
)


def read_runtime(folder: Path) -> dict[str, bytes]:
    """Returns the contents of both files by their ids, from the unpacked npm package.

    Raises:
      UserError: they aren't there, or not of this version.
    """
    return {file.id: _read(folder, file) for file in (SCRIPT, WASM)}


def _read(folder: Path, file: RuntimeFile) -> bytes:
    path = folder / "dist" / file.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; {_hint()}") from None
    if integrity(content, "sha384") != file.integrity:
        raise UserError(f"{path} is not that of onnxruntime-web {VERSION}; {_hint()}")
    return content


def _hint() -> str:
    return f"npm pack onnxruntime-web@{VERSION} gets a .tgz, and --runtime takes the folder `package` in it"


def integrity(content: bytes, algorithm: str) -> str:
    """Returns the hash of a file or script as browsers take it: "sha384-" and base64."""
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"
