"""Those who answer with a network, each in a process of its own: fcnn, plain StableHLO, ONNX Runtime, OpenVINO.

Each reads the file that is exported for it (`fcnn.bench.network_files`), knows the number of images beforehand, has as
many threads as there are cores, and computes in float32. The images lie in memory as it takes them. Each library is
imported in its own process alone.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.bench.job import Job
from fcnn.utils.cores import cores

Answer = Callable[[], Any]
"""Computes the logits (B, classes) of the images."""


def make_setup(job: Job, contender: str) -> tuple[Callable[[int], None], dict[str, Any]]:
    """As `jax_side.make_setup`, with the first image's logits among the facts: {"logits"}; only fcnn counts
    multiply-adds."""
    shape = (job.batch, job.image_size, job.image_size, job.channels)
    images = np.random.default_rng(1).standard_normal(shape, np.float32)
    began = time.perf_counter()
    answer, facts = _ENGINES[contender](job, images)
    facts["logits"] = np.asarray(answer())[0].tolist()
    facts["compile_seconds"] = time.perf_counter() - began

    def run(steps: int) -> None:
        for _ in range(steps):
            answer()

    return run, facts


def _fcnn(job: Job, images: np.ndarray) -> tuple[Answer, dict[str, Any]]:
    import jax

    from fcnn.bench.jax_side import multiply_adds
    from fcnn.inference.load import load

    network, on_device = load(Path(job.files) / "model.safetensors"), jax.device_put(images)
    facts: dict[str, Any] = {"multiply_adds": multiply_adds(network.model, network.variables, on_device)}
    return lambda: jax.block_until_ready(network.logits(on_device)), facts


def _stablehlo(job: Job, images: np.ndarray) -> tuple[Answer, dict[str, Any]]:
    import jax
    from jax import export

    data = (Path(job.files) / "model.stablehlo").read_bytes()
    call, on_device = jax.jit(export.deserialize(bytearray(data)).call), jax.device_put(images)
    return lambda: jax.block_until_ready(call(on_device)), {}


def _onnxruntime(job: Job, images: np.ndarray) -> tuple[Answer, dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.add_free_dimension_override_by_name("batch", job.batch)
    path, providers = str(Path(job.files) / "model.onnx"), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    inputs = {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    return lambda: session.run(["logits"], inputs)[0], {}


def _openvino(job: Job, images: np.ndarray) -> tuple[Answer, dict[str, Any]]:
    import openvino  # pyright: ignore[reportMissingImports]  # optional

    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    core = openvino.Core()
    model = core.read_model(Path(job.files) / "model.onnx")
    model.reshape({"images": list(channels_first.shape)})
    options = {"INFERENCE_NUM_THREADS": cores(), "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(model, "CPU", options)
    request, output = compiled.create_infer_request(), compiled.output("logits")
    return lambda: request.infer({"images": channels_first}, share_inputs=True, share_outputs=True)[output], {}


_ENGINES = {"fcnn": _fcnn, "stablehlo": _stablehlo, "onnxruntime": _onnxruntime, "openvino": _openvino}
