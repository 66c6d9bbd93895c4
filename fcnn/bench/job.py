"""What is measured: the network, its input, training or evaluation. Standard library only."""

import dataclasses
from typing import Any, Literal

Kind = Literal["step", "eval", "predict"]

GEMM = 2048
"""Rows and columns of the matrices whose product shows what the machine reaches at best."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A measurement."""

    model: str
    kind: Kind = "step"
    """`step`: forward, backward and update by SGD with momentum; `eval`: logits with running statistics; `predict`: the
    same by programs that read the network's files."""
    batch: int = 128
    """Images per step."""
    image_size: int = 32
    """Height and width in pixels."""
    channels: int = 3
    classes: int = 10
    dtype: str = "float32"
    """Type of the activations."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the model."""
    files: str = ""
    """The folder of the network's files (`fcnn.bench.network_files`), for `predict`."""


# The standard list: name, batch, image size, and what differs from the defaults.
STANDARD = (
    Job(model="resnet20"),
    Job(model="lenet5", image_size=28, channels=1),
    Job(model="vgg11_bn", options={"hidden": ()}),
    Job(model="resnet18", options={"stem": "3x3"}),
    Job(model="resnet50", batch=32, image_size=64),
    Job(model="resnet50", batch=8, image_size=224),
    *(
        Job(model=name, batch=batch, image_size=size)
        for name in (
            *("mobilenet_v2", "efficientnet_lite0", "efficientnet_b0"),
            *("resnext50_32x4d", "densenet121", "convnext_tiny"),
        )
        for batch, size in ((32, 64), (8, 224))
    ),
)

# What answers are compared on: names, and numbers of images of 224 pixels.
PREDICTED = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0", "squeezenet1_0")
BATCHES = (1, 8, 32)

# Those who answer with a network, in addition to fcnn, and the packages that each needs.
ENGINES = {
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "torch": ("torch",),
    "stablehlo": (),
}

# The contenders, each with its variants, of which the fastest counts.
CONTENDERS = {
    "fcnn": ("fcnn",),
    "lax": ("lax",),
    "flax": ("flax",),
    "torch": ("torch-eager-nchw", "torch-eager-nhwc", "torch-compile-nchw", "torch-compile-nhwc"),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "stablehlo": ("stablehlo",),
}
