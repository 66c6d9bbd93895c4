"""ONNX files that fcnn wrote, asked by ONNX Runtime."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.distributed.device_memory import check_file
from fcnn.inference.predict import Classify, Outputs, normalized
from fcnn.utils.errors import UserError, install
from fcnn.utils.json_file import parse_json
from fcnn.weights import NetworkInfo

SMALL = 1024
"""Bytes of constants by which shapes may be computed."""
MOST = 1024
"""A tensor of one image has at most so many times as many entries as the image."""


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
    try:
        metadata = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise UserError(f"{path} has metadata that are no text") from None
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
        raise UserError(f"{source} needs ONNX Runtime: {install('onnx')}") from None
    try:
        if reason := _harm(onnx.load_from_string(data)):
            raise UserError(f"{source} {reason}, which no file of fcnn's does")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is raised, too
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes onnx and ONNX Runtime raise
        raise UserError(
            f"{source} is damaged, no ONNX file, or has an operation that ONNX Runtime can't run "
            f"({type(error).__name__})"
        ) from None


def _harm(model: Any) -> str:
    """Says what in a model reads other files, may never end, or takes memory without bounds; "" for none of it."""
    import onnx

    weights = model.graph.initializer
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in weights):
        return "keeps its weights in other files"
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if model.functions or any(attribute.type in kinds for node in model.graph.node for attribute in node.attribute):
        return "has loops or branches"
    sizes = [dimension.dim_value for one in model.graph.input for dimension in one.type.tensor_type.shape.dim]
    for one in weights:
        if len(one.raw_data) > SMALL:
            one.ClearField("raw_data")  # shapes don't depend on it
    tensors = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    known = {one.name: one.type.tensor_type.shape.dim for one in (*tensors.value_info, *tensors.output)}
    most = MOST * math.prod(max(size, 1) for size in sizes)
    for name in (name for node in tensors.node for name in node.output if name):
        if name not in known or not all(dimension.dim_value for dimension in known[name][1:]):
            return f"leaves the size of {name[:40]} open"
        if math.prod(max(dimension.dim_value, 1) for dimension in known[name]) > most:
            return f"makes {name[:40]} far larger than the images"
    return ""


def classifier(session: Any, info: NetworkInfo, pixels: bool) -> Classify:
    """The session as a function of uint8 images (B, H, W, C)."""

    def classify(images: np.ndarray) -> Outputs:
        taken = images if pixels else np.asarray(normalized(info, images)).transpose(0, 3, 1, 2)
        try:
            logits, *features = session.run(None, {"images": taken})
        except Exception as error:  # whatever ONNX Runtime raises where memory or an operation fails
            raise UserError(f"ONNX Runtime can't run the network ({type(error).__name__})") from None
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
