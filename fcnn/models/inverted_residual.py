"""The inverted residual of MobileNet v2, and what MobileNet v3, MNASNet and EfficientNet changed about it.

M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks,
arXiv:1801.04381, section 3.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from fcnn.nn import Layer, conv_norm_act

Function = Callable[[jax.Array], jax.Array]


class InvertedResidual(nn.Module):
    """A 1x1 convolution to many channels, a depthwise one, and a 1x1 convolution to few, which no activation follows;
    around them the input is added where the shape stays the same.

    Fields:
      features: channels of the result.
      expanded: channels of the depthwise convolution.
      expand: whether the first 1x1 convolution is there; without it, the input must have the `expanded` channels.
      padding: of the depthwise convolution; None takes half the kernel, "SAME" is TensorFlow's.
      squeeze_excite: makes the layer behind the depthwise convolution, such as
        `functools.partial(SqueezeExcite, conv, act, reduced=8)`, or None.
      shortcut: whether the input is added at all.
      drop: stochastic depth in training, as `Classifier.drop_path` gives it.

    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), features).
    """

    conv: Layer
    norm: Layer
    act: Function
    features: int
    expanded: int
    kernel_size: int = 3
    strides: int = 1
    expand: bool = True
    padding: Any = None
    squeeze_excite: Layer | None = None
    shortcut: bool = True
    drop: Function | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        if self.expand:
            y = conv_norm_act(
                y, self.conv(self.expanded, 1, name="expand_conv"), self.norm(name="expand_norm"), self.act
            )
        padding = self.kernel_size // 2 if self.padding is None else self.padding
        depthwise = self.conv(
            self.expanded,
            self.kernel_size,
            self.strides,
            padding,
            feature_group_count=y.shape[-1],
            name="depthwise_conv",
        )
        y = conv_norm_act(y, depthwise, self.norm(name="depthwise_norm"), self.act)
        if self.squeeze_excite is not None:
            y = self.squeeze_excite(features=self.expanded, name="se")(y)
        project = self.conv(self.features, 1, name="project_conv")
        same = x.shape == (*y.shape[:3], project.features)
        shortcut = x if self.shortcut and same else None
        return conv_norm_act(y, project, self.norm(name="project_norm"), None, shortcut, self.drop)


def divisible(channels: float, divisor: int = 8) -> int:
    """Rounds a number of channels to a multiple, never down by more than a tenth, as the authors of MobileNet do.

    >>> [divisible(channels) for channels in (3, 18, 30, 44.0)]
    [8, 24, 32, 48]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def split(block: str) -> tuple[int, int]:
    """Returns a block's stage, from 1 on, and its place in there, from 0 on: "stage2_block1" -> (2, 0)."""
    stage, number = block.removeprefix("stage").split("_block")
    return int(stage), int(number) - 1


def torch_name(layer: str, *, expand: bool, squeeze_excite: bool) -> str:
    """Returns torchvision's name of a layer of a block in MobileNet v3 and EfficientNet: "depthwise_norm" -> "1.1".

    Its parts are numbered from 0, those that a block doesn't have left out; each is a convolution and a normalization.
    """
    parts = [*["expand"] * expand, "depthwise", *["se"] * squeeze_excite, "project"]
    if layer.startswith("se/"):
        return f"{parts.index('se')}.{layer.removeprefix('se/')}"
    part, kind = layer.split("_")
    return f"{parts.index(part)}.{int(kind == 'norm')}"


def timm_network_name(layer: str, expands: Callable[[int], bool], *, first_stage: int = 1) -> str:
    """Returns timm's name of a layer of a network of such blocks: "stage2_block1/expand_conv" -> "blocks.1.0.conv_pw".

    Args:
      expands: whether the blocks of a stage have the first 1x1 convolution.
      first_stage: the stage that timm counts as 0.
    """
    tops = {"stem_conv": "conv_stem", "stem_norm": "bn1", "last_conv": "conv_head", "last_norm": "bn2"}
    block, _, inner = layer.partition("/")
    if not inner:
        return tops.get(block, "classifier")
    stage, i = split(block)
    return f"blocks.{stage - first_stage}.{i}.{timm_name(inner, expand=expands(stage))}"


def timm_name(layer: str, *, expand: bool) -> str:
    """Returns timm's name of a layer of a block: "project_conv" -> "conv_pwl", or "conv_pw" if it doesn't expand."""
    if layer.startswith("se/"):
        return {"se/fc1": "se.conv_reduce", "se/fc2": "se.conv_expand"}[layer]
    part, kind = layer.split("_")
    convs = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
    if not expand:
        convs = {"depthwise": "conv_dw", "project": "conv_pw"}
    return convs[part] if kind == "conv" else f"bn{list(convs).index(part) + 1}"
