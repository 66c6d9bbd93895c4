"""What shows that an ONNX file gives the network's answers: the same images through both, written beside the file."""

import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.data.dataset import Dataset
from fcnn.data.parallel import Progress
from fcnn.inference.onnx.graph import OPSET
from fcnn.inference.onnx.run import open_session
from fcnn.inference.predict import BATCH, classifier, normalized
from fcnn.report import Console
from fcnn.training import workdir as folder
from fcnn.training.run_data import load_run_data
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes
from fcnn.utils.version import with_version
from fcnn.weights import Network, NetworkInfo

LARGEST: dict[str, float] = {"float32": 1e-3, "float16": 2e-2, "int8": 0.5}
"""A difference of the outputs, relative to the largest of them, that is refused."""
DRAWN = 64
"""Images that are drawn for a network without data of its own."""

Engine = Callable[[np.ndarray], np.ndarray]
"""From the file's input to its first output."""


def certify(
    network: Network, data: bytes, images: np.ndarray, source: str, progress: Progress, *, pixels: bool, dtype: str
) -> dict[str, Any]:
    """Compares an ONNX file with its network, in ONNX Runtime and in OpenVINO where it is installed.

    Args:
      data: the file.
      images: (N, H, W, C) uint8.
      source: where the images are from.
      pixels, dtype: as the file was written.

    Returns:
      {"sha256", "opset", "dtype", "pixels", "images": {"source", "count"}, "engines": {name: {"version", "difference",
      "same_top1"}}, "versions"}: the largest difference relative to the largest output, and on how many images the
      likeliest class is the same.

    Raises:
      UserError: the difference is too large.
    """
    info, classify = network.info, classifier(network)
    engines = {"onnxruntime": _onnxruntime(data), "openvino": _openvino(data)}
    found = {name: [] for name, engine in engines.items() if engine is not None}
    wanted = []
    starts = range(0, len(images), BATCH)
    for start in progress(starts, "comparing", len(starts)):
        part = images[start : start + BATCH]
        padded = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), np.uint8)])  # one program
        logits = np.asarray(classify(padded).logits)[: len(part)]
        wanted.append(info.calibration.probabilities(logits) if pixels else logits)
        taken = part if pixels else np.asarray(normalized(info, part)).transpose(0, 3, 1, 2)
        for name, outputs in found.items():
            engine = engines[name]
            assert engine is not None
            outputs.append(engine(taken))
    want = np.concatenate(wanted)
    rows = {name: _compared(name, np.concatenate(outputs), want, LARGEST[dtype]) for name, outputs in found.items()}
    return with_version(
        {
            "sha256": hashlib.sha256(data).hexdigest(),
            "opset": OPSET,
            "dtype": dtype,
            "pixels": pixels,
            "images": {"source": source, "count": len(images)},
            "engines": rows,
            "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "onnx")},
        }
    )


def images_to_compare(
    source: str, info: NetworkInfo, dataset: Dataset | None, console: Console
) -> tuple[np.ndarray, str]:
    """Returns the validation images of a run, (N, H, W, C) uint8, and what they are; drawn patterns where
    there are none.

    Args:
      source: the run's folder, or any other network.
      dataset: the user's own, of the run.
    """
    workdir = Path(source).expanduser()
    if workdir.is_dir():
        try:
            config = folder.read_config(workdir)
            split = load_run_data(config, workdir, console, exact=False, dataset=dataset).validation
            if len(split):
                return split.read(np.arange(len(split))), f"validation split of {config.data.name}"
        except UserError as error:
            console.log(f"Note: {error}. Drawn images are compared instead.")
    return _drawn(info.image_shape), "drawn patterns"


def _drawn(shape: Sequence[int]) -> np.ndarray:
    """Draws smooth patterns with noise, the same each time: (DRAWN, *shape) uint8."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (DRAWN, 8, 8, channels))
    rows, columns = (np.linspace(0, 7, n).round().astype(int) for n in (height, width))
    noise = rng.normal(0, 8, (DRAWN, height, width, channels))
    return np.clip(coarse[:, rows[:, None], columns] + noise, 0, 255).astype(np.uint8)


def _compared(name: str, found: np.ndarray, want: np.ndarray, largest: float) -> dict[str, Any]:
    difference = float(np.abs(found - want).max() / np.abs(want).max())
    if not difference <= largest:
        raise UserError(
            f"not written: {name}'s answers differ from the network's by {difference:.2g} of the largest, more than "
            f"{largest:g}"
        )
    same = int((found.argmax(1) == want.argmax(1)).sum())
    return {"version": importlib.metadata.version(name), "difference": difference, "same_top1": same}


def _onnxruntime(data: bytes) -> Engine:
    session = open_session(data, "the ONNX file")
    return lambda images: session.run(None, {"images": images})[0]


def _openvino(data: bytes) -> Engine | None:
    """OpenVINO in float32, where the processor would allow it less; None if it isn't installed."""
    try:
        openvino: Any = importlib.import_module("openvino")
    except ImportError:
        return None
    core = openvino.Core()
    model = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: model(images)[model.output(0)]


def write_certified(path: Path, data: bytes, certificate: dict[str, Any]) -> Path:
    """Writes the file, and its certificate beside it; returns where that is."""
    beside = path.with_name(path.name + ".json")
    write_bytes(beside, (json.dumps(certificate, indent=1) + "\n").encode())
    write_bytes(path, data)
    return beside
