"""EfficientNet v2: its first stages have one 3x3 convolution in place of a 1x1 and a depthwise one, and train faster.

| name | blocks a stage | channels of the stages | image | parameters at 1,000 classes |
|---|---|---|---|---|
| efficientnet_v2_s | 2, 4, 4, 6, 9, 15 | 24, 48, 64, 128, 160, 256 | 384 | 21,458,488 |
| efficientnet_v2_m | 3, 5, 5, 7, 14, 18, 5 | 24, 48, 80, 160, 176, 304, 512 | 480 | 54,139,356 |
| efficientnet_v2_l | 4, 7, 7, 10, 19, 25, 7 | 32, 64, 96, 192, 224, 384, 640 | 480 | 118,515,272 |

M. Tan, Q. V. Le: EfficientNetV2: Smaller Models and Faster Training, arXiv:2104.00298, table 4 and section 3.3; the
number of channels is that of the authors' code (github.com/google/automl, efficientnetv2).
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax

from fcnn.models.classifier import IMAGENET, PLUS_MINUS_ONE
from fcnn.models.efficientnet import EfficientNet
from fcnn.models.inverted_residual import split
from fcnn.nn import Layer, conv_norm_act
from fcnn.nn.geometry import Padding

Function = Callable[[jax.Array], jax.Array]


class FusedInvertedResidual(nn.Module):
    """A 3x3 convolution to many channels and a 1x1 convolution to few, or a 3x3 convolution alone; around them the
    input is added where the shape stays the same (figure 2).

    Fields:
      expanded: channels of the 3x3 convolution of two; None for one alone.
      drop: stochastic depth in training, as `Classifier.drop_path` gives it.

    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), features).
    """

    conv: Layer
    norm: Layer
    act: Function
    features: int
    expanded: int | None = None
    strides: int = 1
    padding: Padding = 1
    drop: Function | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv1 = self.conv(self.expanded or self.features, 3, self.strides, self.padding, name="conv1")
        y = conv_norm_act(x, conv1, self.norm(name="norm1"), self.act)
        if self.expanded is not None:
            y = conv_norm_act(y, self.conv(self.features, 1, name="conv2"), self.norm(name="norm2"), None)
        if x.shape != y.shape:
            return y
        return x + (y if self.drop is None else self.drop(y))


class EfficientNetV2(EfficientNet, kw_only=True):
    """A 3x3 convolution, three stages of fused inverted residuals, three or four of inverted residuals with
    squeeze-and-excitation, a 1x1 convolution, average pooling, a dense layer.

    Endpoints: stem, stage1 to stage6 or stage7, pool.
    """

    epsilon: float = 1e-3

    paper = "Tan & Le 2021, arXiv:2104.00298"
    expansions: ClassVar[tuple[int, ...]] = (1, 4, 4, 4, 6, 6, 6)
    kernel_sizes: ClassVar[tuple[int, ...]] = (3,) * 7
    fused_stages: ClassVar[int] = 3

    def block(self, train: bool, number: int, i: int, **options: Any) -> nn.Module:
        if number > self.fused_stages:
            return super().block(train, number, i, **options)
        inputs, expansion = self.filters[number - 1 if i == 0 else number], self.expansions[number - 1]
        return FusedInvertedResidual(
            *self.layers(train),
            self.filters[number],
            expansion * inputs if expansion > 1 else None,
            self.strides[number - 1] if i == 0 else 1,
            self.pad(3),
            **options,
        )

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        # torchvision's weights of the largest are the authors' own.
        return PLUS_MINUS_ONE if self.filters == L_FILTERS else IMAGENET

    def torch_name(self, layer: str) -> str:
        block, _, inner = layer.partition("/")
        if not inner or split(block)[0] > self.fused_stages:
            return super().torch_name(layer)
        number, i = split(block)
        kinds = {"conv1": "0.0", "norm1": "0.1", "conv2": "1.0", "norm2": "1.1"}
        return f"features.{number}.{i}.block.{kinds[inner]}"

    def timm_name(self, layer: str) -> str:
        block, _, inner = layer.partition("/")
        if not inner or split(block)[0] > self.fused_stages:
            return super().timm_name(layer)
        number, i = split(block)
        first = "conv_exp" if self.expansions[number - 1] > 1 else "conv"
        kinds = {"conv1": first, "norm1": "bn1", "conv2": "conv_pwl", "norm2": "bn2"}
        return f"blocks.{number - 1}.{i}.{kinds[inner]}"

    def namings(self) -> tuple[Callable[[str], str], ...]:
        return self.torch_name, self.timm_name


S_FILTERS = (24, 24, 48, 64, 128, 160, 256, 1280)
M_FILTERS = (24, 24, 48, 80, 160, 176, 304, 512, 1280)
L_FILTERS = (32, 32, 64, 96, 192, 224, 384, 640, 1280)

efficientnet_v2_s = functools.partial(
    EfficientNetV2,
    stage_sizes=(2, 4, 4, 6, 9, 15),
    filters=S_FILTERS,
    image_shape=(384, 384, 3),
    paper_dropout=0.2,
)
efficientnet_v2_m = functools.partial(
    EfficientNetV2,
    stage_sizes=(3, 5, 5, 7, 14, 18, 5),
    filters=M_FILTERS,
    image_shape=(480, 480, 3),
    paper_dropout=0.3,
)
efficientnet_v2_l = functools.partial(
    EfficientNetV2,
    stage_sizes=(4, 7, 7, 10, 19, 25, 7),
    filters=L_FILTERS,
    image_shape=(480, 480, 3),
    paper_dropout=0.4,
)
