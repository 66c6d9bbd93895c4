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
"""Random images for a network without data of its own."""

Engine = Callable[[np.ndarray], list[np.ndarray]]
"""From the file's input to its outputs: logits or probabilities, and features where it has them."""


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
      "same_top1"}}, "versions"}: the largest difference relative to the largest number of the output, and on how many
      images the likeliest class is the same.

    Raises:
      UserError: the difference is too large.
    """
    info, classify = network.info, classifier(network)
    engines = {name: engine for name, make in ENGINES.items() if (engine := make(data)) is not None}
    rows: dict[str, list[list[np.ndarray]]] = {name: [] for name in ("network", *engines)}
    starts = range(0, len(images), BATCH)
    for start in progress(starts, "comparing", len(starts)):
        part = images[start : start + BATCH]
        padded = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), np.uint8)])  # one program
        logits, *features = [np.asarray(output)[: len(part)] for output in classify(padded) if output is not None]
        rows["network"].append([info.calibration.probabilities(logits) if pixels else logits, *features])
        taken = part if pixels else np.asarray(normalized(info, part)).transpose(0, 3, 1, 2)
        for name, engine in engines.items():
            rows[name].append(engine(taken))
    outputs = {name: [np.concatenate(batches) for batches in zip(*each, strict=True)] for name, each in rows.items()}
    want = outputs.pop("network")
    compared = {name: _compared(name, found, want, LARGEST[dtype]) for name, found in outputs.items()}
    return with_version(
        {
            "sha256": hashlib.sha256(data).hexdigest(),
            "opset": OPSET,
            "dtype": dtype,
            "pixels": pixels,
            "images": {"source": source, "count": len(images)},
            "engines": compared,
            "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "onnx")},
        }
    )


def run_dataset(source: str, dataset: Dataset | None, console: Console) -> Dataset | None:
    """Loads the images of a run; None if the source is no run's folder.

    Args:
      dataset: the user's own, of the run.

    Raises:
      UserError: they aren't there any more.
    """
    workdir = Path(source).expanduser()
    if not workdir.is_dir():
        return None
    return load_run_data(folder.read_config(workdir), workdir, console, exact=False, dataset=dataset)


def images_to_compare(info: NetworkInfo, dataset: Dataset | None) -> tuple[np.ndarray, str]:
    """Returns the validation images, (N, H, W, C) uint8, and what they are; random patterns where there are none."""
    if dataset is not None and len(split := dataset.validation):
        return split.read(np.arange(len(split))), f"validation split of {dataset.name}"
    return _drawn(info.image_shape), "random patterns"


def _drawn(shape: Sequence[int]) -> np.ndarray:
    """Draws smooth patterns with noise, the same each time: (DRAWN, *shape) uint8."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (DRAWN, 8, 8, channels))
    rows, columns = (np.linspace(0, 7, n).round().astype(int) for n in (height, width))
    noise = rng.normal(0, 8, (DRAWN, height, width, channels))
    return np.clip(coarse[:, rows[:, None], columns] + noise, 0, 255).astype(np.uint8)


def _compared(name: str, found: list[np.ndarray], want: list[np.ndarray], largest: float) -> dict[str, Any]:
    differences = [float(np.abs(a - b).max() / (np.abs(b).max() or 1)) for a, b in zip(found, want, strict=True)]
    if not max(differences) <= largest:
        raise UserError(
            f"not written: {name}'s answers differ from the network's by {max(differences):.2g} of the largest, more "
            f"than {largest:g}"
        )
    same = int((found[0].argmax(1) == want[0].argmax(1)).sum())
    version = importlib.import_module(name).__version__
    return {"version": version, "difference": max(differences), "same_top1": same}


def _onnxruntime(data: bytes) -> Engine:
    session = open_session(data, "the ONNX file")
    return lambda images: session.run(None, {"images": images})


def _openvino(data: bytes) -> Engine | None:
    """OpenVINO in float32, where the processor would allow it less; None if it isn't installed."""
    try:
        openvino: Any = importlib.import_module("openvino")
    except ImportError:
        return None
    core = openvino.Core()
    model = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: list(model(images).values())


ENGINES: dict[str, Callable[[bytes], Engine | None]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def write_certified(path: Path, data: bytes, certificate: dict[str, Any]) -> Path:
    """Writes the file, and its certificate beside it; returns where that is."""
    beside = path.with_name(path.name + ".json")
    write_bytes(beside, (json.dumps(certificate, indent=1) + "\n").encode())
    write_bytes(path, data)
    return beside
