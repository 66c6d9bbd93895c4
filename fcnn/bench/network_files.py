"""An untrained network as the files that those read who are compared when they answer: `python -m
fcnn.bench.network_files JOB ENGINE...` writes them, so that the process that starts the others stays small, since what
it had of memory would count as theirs.
"""

import json
import sys
from collections.abc import Collection
from pathlib import Path

import jax
import jax.numpy as jnp

from fcnn.bench.job import Job
from fcnn.config import ModelConfig
from fcnn.inference.export import to_stablehlo
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes
from fcnn.weights import Network, NetworkInfo, write_network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's; of no meaning to how long an answer takes."""


def write_files(job: Job, engines: Collection[str]) -> None:
    """Writes model.safetensors to the job's folder, and model.stablehlo and model.onnx for engines that read them."""
    folder, shape = Path(job.files), (job.image_size, job.image_size, job.channels)
    classes = tuple(map(str, range(job.classes)))
    config = ModelConfig(name=job.model, options=job.options)
    info = NetworkInfo(model=config, classes=classes, named=False, image_shape=shape, mean=MEAN, std=STD)
    model, images = info.create(), jnp.zeros((1, *shape))
    variables = jax.jit(lambda key: model.init(key, images, train=False))(jax.random.key(0))
    network = Network(info=info, variables=dict(variables))
    write_network(folder / "model.safetensors", network)
    if "stablehlo" in engines:
        write_bytes(folder / "model.stablehlo", to_stablehlo(network))
    if {"onnxruntime", "openvino"} & set(engines):
        from fcnn.inference.onnx.export import to_onnx  # the package onnx isn't always there

        write_bytes(folder / "model.onnx", to_onnx(network))


def main() -> None:
    """Writes the files; exits with the message of a UserError."""
    try:
        write_files(Job(**json.loads(sys.argv[1])), sys.argv[2:])
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
