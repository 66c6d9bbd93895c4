"""Residual networks with normalization and activation before the convolutions, so that shortcuts are free of both.

| name | blocks a stage | parameters at 10 classes |
|---|---|---|
| preact_resnet110 | 18, of two 3x3 convolutions | 1,727,962 |
| preact_resnet164 | 18, of 1x1, 3x3 and 1x1 | 1,703,258 |
| preact_resnet1001 | 111, of 1x1, 3x3 and 1x1 | 10,327,706 |

K. He, X. Zhang, S. Ren, J. Sun: Identity Mappings in Deep Residual Networks, arXiv:1603.05027, figure 4e and appendix.
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.residual import Function, depth_rate, pad_channels
from fcnn.models.resnet import torch_name
from fcnn.nn import Layer, conv_norm_act, global_avg_pool, norm_act


class PreActBasicBlock(nn.Module):
    """Twice normalization, activation and a 3x3 convolution, added to the input.

    A block that changes the shape takes its shortcut behind the first activation (appendix), and pads it with zeros as
    the 110-layer network of 2015. Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), filters).
    """

    conv: Layer
    norm: Layer
    act: Function
    filters: int
    strides: int = 1
    dropout: Function | None = None
    """What the last convolution's input goes through."""
    drop: Function | None = None
    """Stochastic depth."""

    kernels: ClassVar[tuple[int, ...]] = (3, 3)
    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        convs = []
        for i, kernel in enumerate(self.kernels, start=1):
            filters = self.filters * (self.expansion if i == len(self.kernels) else 1)
            strides = self.strides if i == self.kernels.index(3) + 1 else 1
            convs.append(self.conv(filters, kernel, strides, kernel // 2, name=f"conv{i}"))
        y = norm_act(x, self.norm(name="norm1"), self.act)
        shortcut = y if self.strides > 1 or x.shape[-1] != convs[-1].features else x
        for i, conv in enumerate(convs[:-1], start=2):
            y = conv_norm_act(y, conv, self.norm(name=f"norm{i}"), self.act)
        y = convs[-1](y if self.dropout is None else self.dropout(y))
        y = y if self.drop is None else self.drop(y)
        return y + (shortcut if shortcut.shape == y.shape else self.reshape(shortcut, y.shape[-1]))

    def reshape(self, shortcut: jax.Array, channels: int) -> jax.Array:
        """Gives the shortcut the shape of a block's output."""
        return pad_channels(shortcut[:, :: self.strides, :: self.strides], channels)


class PreActBottleneck(PreActBasicBlock):
    """Normalization, activation and a convolution, of 1x1, 3x3 and 1x1, added to the input; a shortcut that changes the
    shape goes through a 1x1 convolution.

    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), 4 * filters).
    """

    kernels = (1, 3, 1)
    expansion = 4

    def reshape(self, shortcut: jax.Array, channels: int) -> jax.Array:
        return self.conv(self.expansion * self.filters, 1, self.strides, name="shortcut_conv")(shortcut)


class PreActResNet(Classifier, kw_only=True):
    """A 3x3 convolution, three stages of pre-activation blocks with 16, 32 and 64 channels (four times as many between
    bottlenecks), normalization, activation, average pooling, a dense layer.

    Images of any size, 32x32 in the paper. Endpoints: stem, stage1 to stage3, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    block: type[PreActBasicBlock | PreActBottleneck]
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""

    paper = "He et al. 2016, arXiv:1603.05027"
    classes = 10
    image_shape = (32, 32, 3)

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = endpoint("stem", conv(16, 3, 1, 1, name="stem_conv")(x))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(PreActResNet.stage, x, train, number))
        x = norm_act(x, norm(name="last_norm"), act)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            rate = depth_rate(self.stochastic_depth, self.stage_sizes, number, i)
            x = self.block(
                *self.layers(train),
                filters=16 * 2 ** (number - 1),
                strides=2 if number > 1 and i == 0 else 1,
                drop=self.drop_path(rate, train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        if layer == "last_norm":
            return "bn"
        return torch_name(layer, stem=("conv1", "bn1"), shortcut=("shortcut.0", "shortcut.1"), head="linear")


preact_resnet110 = functools.partial(PreActResNet, stage_sizes=(18, 18, 18), block=PreActBasicBlock)
preact_resnet164 = functools.partial(PreActResNet, stage_sizes=(18, 18, 18), block=PreActBottleneck)
preact_resnet1001 = functools.partial(PreActResNet, stage_sizes=(111, 111, 111), block=PreActBottleneck)
