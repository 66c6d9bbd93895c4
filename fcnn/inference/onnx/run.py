"""ONNX files that fcnn wrote, asked by ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.distributed.device_memory import check_file
from fcnn.inference.predict import Classify, Outputs, normalized
from fcnn.utils.errors import UserError
from fcnn.utils.json_file import parse_json
from fcnn.weights import NetworkInfo


def read_onnx(path: Path) -> tuple[NetworkInfo, Classify]:
    """What `fcnn export` wrote: what the network is, and a function that asks it.

    Raises:
      UserError: ONNX Runtime isn't installed, or the file isn't there, is damaged or none of fcnn's.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    check_file(path)
    data = path.read_bytes()
    session = open_session(data, str(path))
    metadata = session.get_modelmeta().custom_metadata_map
    if "fcnn" not in metadata:
        raise UserError(f"{path} has no labels and preprocessing in its metadata; fcnn export writes them")
    values = parse_json(metadata["fcnn"], f"the metadata of {path}")
    try:
        info = NetworkInfo.from_json(json.dumps(values["about"]), f"the metadata of {path}")
        pixels = bool(values["pixels"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"the metadata of {path}: {type(error).__name__}: {error}") from None
    _check_shapes(session, info, pixels, path)
    return info, classifier(session, info, pixels)


def open_session(data: bytes, source: str) -> Any:
    """Returns a session of ONNX Runtime on the CPU; UserError naming `source` if that can't be."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UserError(f"{source} is run by ONNX Runtime, which is not installed: pip install 'fcnn[onnx]'") from None
    try:
        model = onnx.load_from_string(data)
        if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
            raise UserError(f"{source} keeps its weights in other files, which fcnn never reads")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is raised, too
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes onnx and ONNX Runtime raise
        raise UserError(
            f"{source} is damaged, no ONNX file, or has an operation that ONNX Runtime can't run "
            f"({type(error).__name__})"
        ) from None


def classifier(session: Any, info: NetworkInfo, pixels: bool) -> Classify:
    """The session as a function of uint8 images (B, H, W, C)."""

    def classify(images: np.ndarray) -> Outputs:
        taken = images if pixels else np.asarray(normalized(info, images)).transpose(0, 3, 1, 2)
        logits, *features = session.run(None, {"images": taken})
        if pixels:  # the logits that have these probabilities
            logits = info.calibration.temperature * np.log(np.maximum(logits, np.finfo(np.float32).tiny))
        return Outputs(logits, *features)

    return classify


def _check_shapes(session: Any, info: NetworkInfo, pixels: bool, path: Path) -> None:
    """Raises UserError if the metadata don't describe the program."""
    height, width, channels = info.image_shape
    shape = [height, width, channels] if pixels else [len(info.mean), height, width]
    taken, given = session.get_inputs(), session.get_outputs()
    names = ["probabilities" if pixels else "logits"] + ["features"] * bool(info.calibration.endpoint)
    described = [one.name for one in given] == names and given[0].shape[1:] == [len(info.classes)]
    if len(taken) != 1 or taken[0].name != "images" or taken[0].shape[1:] != shape or not described:
        raise UserError(f"the metadata of {path} don't describe the network in it")
