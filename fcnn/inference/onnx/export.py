"""A network as an ONNX file, with labels and preprocessing in its metadata.

The program that JAX traces, batch norms folded, is written operation by operation (`emit`), so that no architecture has
to be known, and a user's own works if all of its operations have rules.
"""

import json
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax import export as jax_export
from onnx import TensorProto, helper

from fcnn.inference.export import any_number_of_images, folded
from fcnn.inference.onnx.emit import emit
from fcnn.inference.onnx.graph import BATCH, Graph, Unsupported, Value, channels_first
from fcnn.utils.errors import UserError
from fcnn.weights import Network, NetworkInfo

DType = Literal["float32", "float16"]


def to_onnx(network: Network, *, pixels: bool = False, dtype: DType = "float32") -> bytes:
    """Returns the network in evaluation as an ONNX model of opset 17, serialized and checked.

    Input "images": (batch, C, H, W) float32, normalized already. Output "logits": (batch, classes) float32; and of a
    network that knows images of none of its classes "features": (batch, D) float32, by which it does.

    Args:
      pixels: take "images" (batch, H, W, C) uint8, normalize them inside, and give "probabilities" in place of logits,
        calibrated where the network is.
      dtype: of weights and activations.

    Raises:
      UserError: an operation of the network has no counterpart, or the file would be 2 GiB or more.
    """
    info, graph = network.info, Graph(dtype)
    images, described = _input(graph, info, pixels)
    program = _traced(network)
    value = Value(images, program.in_avals[0].shape, channels_first(4))
    try:
        results = emit(graph, program, [value])
        names = [graph.name(graph.whole(result)) for result in results]
        names = [graph.node("Cast", name, to=TensorProto.FLOAT) if dtype == "float16" else name for name in names]
        called = ["logits", "features"]
        if pixels:
            scaled = graph.node("Div", names[0], graph.single(info.calibration.temperature))
            names[0], called[0] = graph.node("Softmax", scaled, axis=1), "probabilities"
        shapes = [[BATCH, *result.shape[1:]] for result in results]
        model = graph.model([described], list(zip(names, called, shapes, strict=False)))
    except Unsupported as error:
        raise UserError(f"{info.name} can't be written as ONNX: it has {error}; take --format stablehlo") from None
    about = {"pixels": pixels, "about": info.to_dict()}
    helper.set_model_props(model, {"fcnn": json.dumps(about), "labels": json.dumps(info.classes)})
    return _checked(model, info)


def _input(graph: Graph, info: NetworkInfo, pixels: bool) -> tuple[str, Any]:
    """The normalized images in the graph, (B, C, H, W), and the description of what the model takes."""
    height, width, stored = info.image_shape
    if not pixels:
        described = helper.make_tensor_value_info("images", TensorProto.FLOAT, [BATCH, len(info.mean), height, width])
        return _in_graphs_type(graph, "images"), described
    described = helper.make_tensor_value_info("images", TensorProto.UINT8, [BATCH, height, width, stored])
    mean, std = (np.asarray(values, np.float32).reshape(1, -1, 1, 1) for values in (info.mean, info.std))
    first = graph.node("Cast", graph.node("Transpose", "images", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    scaled = graph.node("Mul", first, graph.single(1 / (255 * std)))
    return _in_graphs_type(graph, graph.node("Add", scaled, graph.single(-mean / std))), described


def _in_graphs_type(graph: Graph, name: str) -> str:
    return name if graph.dtype == np.float32 else graph.node("Cast", name, to=TensorProto.FLOAT16)


def _traced(network: Network) -> Any:
    """The network as a program of JAX's with any number of images: (B, H, W, C) -> logits, and features."""
    info = network.info
    height, width, _ = info.image_shape
    # Gray images that are normalized by statistics of three channels have three.
    shape = (height, width, len(info.mean))
    apply, endpoint = folded(network.create(), network.variables, (1, *shape)), info.calibration.endpoint

    def program(images: jax.Array) -> tuple[jax.Array, ...]:
        if not endpoint:
            return (apply(images),)
        logits, activations = apply(images, features=(endpoint,))
        features = activations[endpoint]
        return logits, features.mean(axis=tuple(range(1, features.ndim - 1)))

    (batch,) = jax_export.symbolic_shape(BATCH)
    with any_number_of_images(info.name):
        return jax.make_jaxpr(program)(jax.ShapeDtypeStruct((batch, *shape), jnp.float32))


def _checked(model: onnx.ModelProto, info: NetworkInfo) -> bytes:
    """The model with the shapes of all its tensors, serialized."""
    if model.ByteSize() >= 2**31:
        raise UserError(f"{info.name} has {model.ByteSize() / 2**30:.1f} GiB; an ONNX file holds less than 2")
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.shape_inference.InferenceError,
        onnx.checker.ValidationError,
    ) as error:  # a type that ONNX doesn't take
        raise UserError(f"{info.name} can't be written as ONNX: {str(error).splitlines()[0][:200]}") from None
    return model.SerializeToString(deterministic=True)
