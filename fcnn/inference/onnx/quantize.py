"""ONNX files of 8-bit numbers, by ONNX Runtime's static quantization, and what they cost and bring."""

import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fcnn.data import AnySplit
from fcnn.inference.onnx.run import open_session
from fcnn.inference.predict import BATCH, normalized
from fcnn.weights import NetworkInfo

IMAGES = 256
"""Training images by which the ranges of activations are known."""
TURNS = 30
"""Answers of each file that are timed."""
DENSE = ["MatMul", "Gemm"]
"""Their outputs, of which the logits are one, stay in float32: of 256 values, too many would be equal."""


def quantize(data: bytes, info: NetworkInfo, train: AnySplit, *, pixels: bool) -> bytes:
    """Returns an ONNX file with 8-bit weights, scaled by channel, and 8-bit activations, whose ranges are those that
    `IMAGES` of the training images have.

    Weights use 7 of their bits: processors without VNNI add pairs of products in 16 bits, which more would overflow
    without a word.

    Args:
      data: the file in float32.
      pixels: as it was written.
    """
    from onnxruntime import quantization

    places = np.random.default_rng(0).permutation(len(train))[:IMAGES]

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = _batches(info, train, np.sort(places), pixels)

        def get_next(self) -> Any:
            batch = next(self._batches, None)
            return None if batch is None else {"images": batch}

    with tempfile.TemporaryDirectory(prefix="fcnn-int8-") as temporary, _without_advice():
        plain, small = Path(temporary) / "plain.onnx", Path(temporary) / "int8.onnx"
        plain.write_bytes(data)
        options: dict[str, Any] = {"activation_type": quantization.QuantType.QUInt8, "per_channel": True}
        options |= {"weight_type": quantization.QuantType.QInt8, "reduce_range": True}
        options |= {"nodes_to_exclude": _ends(data), "extra_options": {"OpTypesToExcludeOutputQuantization": DENSE}}
        quantization.quantize_static(plain, small, Reader(), **options)
        return small.read_bytes()


def _ends(data: bytes) -> list[str]:
    """Returns the nodes before the first layer with weights, which normalize, and behind the last, which calibrate."""
    nodes = onnx.load_from_string(data).graph.node
    layers = [i for i, node in enumerate(nodes) if node.op_type in ("Conv", *DENSE)]
    return [node.name for node in [*nodes[: min(layers, default=0)], *nodes[max(layers, default=0) + 1 :]]]


def compare_files(plain: bytes, small: bytes, info: NetworkInfo, split: AnySplit, *, pixels: bool) -> dict[str, Any]:
    """Compares the files in float32 and int8, as ONNX Runtime runs them.

    Returns:
      {"bytes", "ms" (of one image, the median of answers in turns), "top1" (of the images of the split, left out where
      it has none): {"float32", "int8"}}.
    """
    sessions = {"float32": open_session(plain, "the ONNX file"), "int8": open_session(small, "the int8 file")}
    result: dict[str, Any] = {"bytes": {"float32": len(plain), "int8": len(small)}}
    height, width, channels = info.image_shape
    shape = (1, height, width, channels) if pixels else (1, len(info.mean), height, width)
    image = np.zeros(shape, np.uint8 if pixels else np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(TURNS):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run(None, {"images": image})
            times[name].append(1e3 * (time.perf_counter() - began))
    result["ms"] = {name: statistics.median(values) for name, values in times.items()}
    if len(split):
        right = dict.fromkeys(sessions, 0)
        places = np.arange(len(split))
        labels = np.split(split.labels, range(BATCH, len(split), BATCH))
        for batch, truth in zip(_batches(info, split, places, pixels), labels, strict=True):
            for name, session in sessions.items():
                right[name] += int((session.run(None, {"images": batch})[0].argmax(1) == truth).sum())
        result["top1"] = {name: count / len(split) for name, count in right.items()}
    return result


def _batches(info: NetworkInfo, split: AnySplit, places: np.ndarray, pixels: bool) -> Iterator[np.ndarray]:
    """Yields images of a split as the file takes them."""
    for start in range(0, len(places), BATCH):
        images = split.read(places[start : start + BATCH])
        yield images if pixels else np.asarray(normalized(info, images)).transpose(0, 3, 1, 2)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Silences the advice to fold batch norms first, which was done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
