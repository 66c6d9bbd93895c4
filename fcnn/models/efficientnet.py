"""EfficientNet: one small network, whose depth, width and image size grow together to give larger ones.

| name | blocks a stage | channels of the stages | image | parameters at 1,000 classes |
|---|---|---|---|---|
| efficientnet_b0 | 1, 2, 2, 3, 3, 4, 1 | 16, 24, 40, 80, 112, 192, 320 | 224 | 5,288,548 |
| efficientnet_b1 | 2, 3, 3, 4, 4, 5, 2 | the same | 240 | 7,794,184 |
| efficientnet_b2 | 2, 3, 3, 4, 4, 5, 2 | 16, 24, 48, 88, 120, 208, 352 | 260 | 9,109,994 |
| efficientnet_b3 | 2, 3, 3, 5, 5, 6, 2 | 24, 32, 48, 96, 136, 232, 384 | 300 | 12,233,232 |
| efficientnet_b4 | 2, 4, 4, 6, 6, 8, 2 | 24, 32, 56, 112, 160, 272, 448 | 380 | 19,341,616 |
| efficientnet_b5 | 3, 5, 5, 7, 7, 9, 3 | 24, 40, 64, 128, 176, 304, 512 | 456 | 30,389,784 |
| efficientnet_b6 | 3, 6, 6, 8, 8, 11, 3 | 32, 40, 72, 144, 200, 344, 576 | 528 | 43,040,704 |
| efficientnet_b7 | 4, 7, 7, 10, 10, 13, 4 | 32, 48, 80, 160, 224, 384, 640 | 600 | 66,347,960 |

M. Tan, Q. V. Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv:1905.11946, table 1
and section 3.3.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.inverted_residual import InvertedResidual, divisible, split, timm_network_name, torch_name
from fcnn.nn import SqueezeExcite, conv_norm_act, global_avg_pool
from fcnn.nn.geometry import Padding


class EfficientNet(Classifier, kw_only=True):
    """A 3x3 convolution, seven stages of inverted residuals with squeeze-and-excitation, a 1x1 convolution, average
    pooling, a dense layer.

    Endpoints: stem, stage1 to stage7, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    filters: tuple[int, ...]
    """Channels of the first convolution, of the stages, and of the last convolution."""
    paper_dropout: float
    """The rate in front of the classifier that is the paper's, for `dropout=None`."""
    image_shape: tuple[int, int, int] = (224, 224, 3)
    """(H, W, C) of the images that it was published for."""
    stochastic_depth: float = 0.2
    """Stochastic depth: block i of n, from 0, drops its branch in training with probability i / n times this."""
    padding: Literal["torch", "SAME"] = "torch"
    """Padding of the convolutions: half a kernel on every side (torch), or TensorFlow's (SAME), which with stride 2 is
    less at the top and left."""
    epsilon: float = 1e-5
    """Epsilon of the normalization: 1e-3 for weights trained with TensorFlow."""
    momentum: float = 0.9
    """Momentum of batch norm's running statistics (1 - PyTorch's)."""
    activation: str = "silu"

    paper = "Tan & Le 2019, arXiv:1905.11946"
    expansions: ClassVar[tuple[int, ...]] = (1, 6, 6, 6, 6, 6, 6)
    """How many times more channels the depthwise convolutions of a stage have than its blocks' input."""
    kernel_sizes: ClassVar[tuple[int, ...]] = (3, 3, 5, 3, 5, 5, 3)
    """Of the depthwise convolutions of a stage."""
    strides: ClassVar[tuple[int, ...]] = (1, 2, 2, 2, 1, 2, 1)
    """Of the first block of a stage."""
    squeezes: ClassVar[bool] = True
    """Whether the blocks have squeeze-and-excitation."""

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        stem_conv = conv(self.filters[0], 3, 2, self.pad(3), name="stem_conv")
        x = endpoint("stem", conv_norm_act(x, stem_conv, norm(name="stem_norm"), act))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(EfficientNet.stage, x, train, number))
        x = conv_norm_act(x, conv(self.filters[-1], 1, name="last_conv"), norm(name="last_norm"), act)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, self.paper_dropout, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        before, blocks = sum(self.stage_sizes[: number - 1]), sum(self.stage_sizes)
        for i in range(self.stage_sizes[number - 1]):
            drop = self.drop_path(self.stochastic_depth * (before + i) / blocks, train)
            x = self.block(train, number, i, drop=drop, name=f"stage{number}_block{i + 1}")(x)
        return x

    def block(self, train: bool, number: int, i: int, **options: Any) -> nn.Module:
        """Makes block i, from 0 on, of a stage."""
        conv, norm, act = self.layers(train)
        expansion, kernel_size = self.expansions[number - 1], self.kernel_sizes[number - 1]
        inputs = self.filters[number - 1 if i == 0 else number]
        return InvertedResidual(
            conv,
            norm,
            act,
            self.filters[number],
            divisible(expansion * inputs),
            kernel_size,
            self.strides[number - 1] if i == 0 else 1,
            expand=expansion > 1,
            padding=self.pad(kernel_size),
            squeeze_excite=functools.partial(SqueezeExcite, conv, act, reduced=inputs // 4) if self.squeezes else None,
            **options,
        )

    def pad(self, kernel_size: int) -> Padding:
        """Returns the padding of a convolution."""
        return kernel_size // 2 if self.padding == "torch" else "SAME"

    def torch_name(self, layer: str) -> str:
        last = len(self.stage_sizes) + 1
        tops = {"stem_conv": "0.0", "stem_norm": "0.1", "last_conv": f"{last}.0", "last_norm": f"{last}.1"}
        block, _, inner = layer.partition("/")
        if block == "head":
            return "classifier.1"
        if block in tops:
            return f"features.{tops[block]}"
        number, i = split(block)
        inner = torch_name(inner, expand=self.expansions[number - 1] > 1, squeeze_excite=self.squeezes)
        return f"features.{number}.{i}.block.{inner}"

    def timm_name(self, layer: str) -> str:
        return timm_network_name(layer, lambda stage: self.expansions[stage - 1] > 1)

    def namings(self) -> tuple[Callable[[str], str], ...]:
        return *super().namings(), self.efficientnet_pytorch_name

    def efficientnet_pytorch_name(self, layer: str) -> str:
        """What the package efficientnet_pytorch calls a layer (github.com/lukemelas/EfficientNet-PyTorch)."""
        tops = {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "last_conv": "_conv_head", "last_norm": "_bn1"}
        block, _, inner = layer.partition("/")
        if not inner:
            return tops.get(block, "_fc")
        number, i = split(block)
        inners = {"expand_norm": "bn0", "depthwise_norm": "bn1", "project_norm": "bn2"}
        inners |= {"se/fc1": "se_reduce", "se/fc2": "se_expand"}
        return f"_blocks.{sum(self.stage_sizes[: number - 1]) + i}._{inners.get(inner, inner)}"


class LargeEfficientNet(EfficientNet, kw_only=True):
    """EfficientNet with the batch norm that its weights were trained with in TensorFlow."""

    epsilon: float = 1e-3
    momentum: float = 0.99


B0_FILTERS = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
B0_STAGE_SIZES = (1, 2, 2, 3, 3, 4, 1)


def scaled_filters(width: float) -> tuple[int, ...]:
    """Returns the channels of a network that is wider than B0."""
    return tuple(divisible(width * filters) for filters in B0_FILTERS)


def scaled_stage_sizes(depth: float) -> tuple[int, ...]:
    """Returns the blocks a stage of a network that is deeper than B0."""
    return tuple(math.ceil(depth * blocks) for blocks in B0_STAGE_SIZES)


def _scaled(family: type[EfficientNet], width: float, depth: float, size: int, paper_dropout: float) -> Any:
    """Returns B0 with more channels, more blocks, for larger images."""
    return functools.partial(
        family,
        stage_sizes=scaled_stage_sizes(depth),
        filters=scaled_filters(width),
        image_shape=(size, size, 3),
        paper_dropout=paper_dropout,
    )


efficientnet_b0 = _scaled(EfficientNet, 1.0, 1.0, 224, 0.2)
efficientnet_b1 = _scaled(EfficientNet, 1.0, 1.1, 240, 0.2)
efficientnet_b2 = _scaled(EfficientNet, 1.1, 1.2, 260, 0.3)
efficientnet_b3 = _scaled(EfficientNet, 1.2, 1.4, 300, 0.3)
efficientnet_b4 = _scaled(EfficientNet, 1.4, 1.8, 380, 0.4)
efficientnet_b5 = _scaled(LargeEfficientNet, 1.6, 2.2, 456, 0.4)
efficientnet_b6 = _scaled(LargeEfficientNet, 1.8, 2.6, 528, 0.5)
efficientnet_b7 = _scaled(LargeEfficientNet, 2.0, 3.1, 600, 0.5)
