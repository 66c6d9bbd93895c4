"""The residual networks for ImageNet: shortcuts around every two or three convolutions made depth trainable.

| name | blocks a stage | parameters at 1,000 classes |
|---|---|---|
| resnet18 | 2, 2, 2, 2, of two 3x3 convolutions | 11,689,512 |
| resnet34 | 3, 4, 6, 3 | 21,797,672 |
| resnet50 | 3, 4, 6, 3, of 1x1, 3x3 and 1x1 ("bottleneck") | 25,557,032 |
| resnet101 | 3, 4, 23, 3 | 44,549,160 |
| resnet152 | 3, 8, 36, 3 | 60,192,808 |

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385, table 1.

Later papers changed the blocks:

| name | what differs | parameters at 1,000 classes |
|---|---|---|
| resnext50_32x4d | the 3x3 convolution has 32 groups of 4 channels in the first stage [1] | 25,028,904 |
| resnext101_32x8d | 32 groups of 8 channels | 88,791,336 |
| resnext101_64x4d | 64 groups of 4 channels | 83,455,272 |
| wide_resnet50_2 | the 3x3 convolution has twice the channels [2] | 68,883,240 |
| wide_resnet101_2 | | 126,886,696 |

1. S. Xie, R. Girshick, P. Dollar, Z. Tu, K. He: Aggregated Residual Transformations for Deep Neural Networks,
   arXiv:1611.05431, table 1 and figure 3c.
2. S. Zagoruyko, N. Komodakis: Wide Residual Networks, arXiv:1605.07146, section 3.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import Layer, conv_norm_act, global_avg_pool, max_pool
from fcnn.utils.errors import UserError

Shortcut = Literal["A", "projection", "none"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, around which the input is added (figure 5, left).

    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), filters).
    """

    conv: Layer
    norm: Layer
    act: Callable[[jax.Array], jax.Array]
    filters: int
    strides: int = 1
    shortcut: Shortcut = "projection"
    zero_init: bool = True
    drop: Callable[[jax.Array], jax.Array] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv1 = self.conv(self.filters, 3, self.strides, 1, name="conv1")
        conv2 = self.conv(self.filters, 3, 1, 1, name="conv2")
        y = conv_norm_act(x, conv1, self.norm(name="norm1"), self.act)
        same = x.shape == y.shape
        # A last scale of zero makes each block the identity at first (Goyal et al. 2017, section 5.1). Where channels
        # are padded they would be zero in every image, and since a ReLU has no gradient there, zero for good; without
        # a shortcut nothing would get through.
        zero = self.zero_init and (self.shortcut == "projection" or (self.shortcut == "A" and same))
        norm2 = self.norm(scale_init=nn.initializers.zeros if zero else nn.initializers.ones, name="norm2")
        if self.shortcut == "none":
            return conv_norm_act(y, conv2, norm2, self.act)
        if not same and self.shortcut == "A":
            x = pad_channels(x[:, :: self.strides, :: self.strides], y.shape[-1])
        elif not same:
            projection = self.conv(self.filters, 1, self.strides, name="shortcut_conv")
            x = conv_norm_act(x, projection, self.norm(name="shortcut_norm"), None)
        return conv_norm_act(y, conv2, norm2, self.act, x, self.drop)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with four times the channels at the end, around which the input is added (figure 5,
    right).

    The 3x3 convolution has `groups` groups of `width_per_group * filters / 64` channels. Shapes: (B, H, W, C) -> (B,
    ceil(H / strides), ceil(W / strides), 4 * filters).
    """

    conv: Layer
    norm: Layer
    act: Callable[[jax.Array], jax.Array]
    filters: int
    strides: int = 1
    groups: int = 1
    width_per_group: int = 64
    stride_on: Literal["3x3", "1x1"] = "3x3"
    zero_init: bool = True
    drop: Callable[[jax.Array], jax.Array] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (self.strides, 1) if self.stride_on == "1x1" else (1, self.strides)
        width = self.groups * (self.width_per_group * self.filters // 64)
        y = conv_norm_act(x, self.conv(width, 1, first, name="conv1"), self.norm(name="norm1"), self.act)
        groups = math.gcd(self.groups, y.shape[-1])
        conv2 = self.conv(width, 3, second, 1, feature_group_count=groups, name="conv2")
        y = conv_norm_act(y, conv2, self.norm(name="norm2"), self.act)
        conv3 = self.conv(4 * self.filters, 1, name="conv3")
        # A last scale of zero makes each block the identity at first (Goyal et al. 2017, section 5.1).
        scale_init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        if x.shape != (*y.shape[:3], conv3.features):
            projection = self.conv(4 * self.filters, 1, self.strides, name="shortcut_conv")
            x = conv_norm_act(x, projection, self.norm(name="shortcut_norm"), None)
        return conv_norm_act(y, conv3, self.norm(scale_init=scale_init, name="norm3"), self.act, x, self.drop)


def pad_channels(x: jax.Array, channels: int) -> jax.Array:
    """Option A of section 3.3: new channels of zeros, no parameters. Half of them stand on either side, as in the
    implementation whose weights are in use everywhere (github.com/akamaster/pytorch_resnet_cifar10)."""
    new = channels - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))


def depth_rate(last: float, stage_sizes: Sequence[int], stage: int, block: int) -> float:
    """Returns the rate of stochastic depth in a block: from 0 in the first to `last` in the last one, in equal steps
    (Huang et al. 2016, arXiv:1603.09382, section 3; timm's steps).

    Args:
      stage: from 1.
      block: of the stage, from 0.
    """
    return last * (sum(stage_sizes[: stage - 1]) + block) / max(sum(stage_sizes) - 1, 1)


class ResNet(Classifier, kw_only=True):
    """A convolution and a max pool, four stages of residual blocks at 1/4, 1/8, 1/16 and 1/32 of the size, average
    pooling, a dense layer.

    Images of any size. Endpoints: stem, stage1 to stage4, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    block: type[BasicBlock | Bottleneck]
    stride_on: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck halves the size: the 3x3 ("v1.5", torchvision's) or the first 1x1 (the
    paper's)."""
    groups: int = 1
    """Groups of a bottleneck's 3x3 convolution (ResNeXt)."""
    width_per_group: int = 64
    """Channels of each of these groups in the first stage; twice as many from stage to stage."""
    stem: Literal["7x7", "3x3"] = "7x7"
    """How it begins: a 7x7 convolution of stride 2 and a max pool (the paper's), or for small images a 3x3 convolution
    alone, as is usual for CIFAR-10; all sizes are then four times as large."""
    zero_init: bool = True
    """Start each block as the identity, by a zero scale in its last normalization."""
    stochastic_depth: float = 0.0
    """Rate at which the last block's branch is dropped in training; from 0 in the first block in equal steps."""

    paper = "He et al. 2015, arXiv:1512.03385"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        large = self.stem == "7x7"
        stem_conv = conv(64, 7, 2, 3, name="stem_conv") if large else conv(64, 3, 1, 1, name="stem_conv")
        x = conv_norm_act(x, stem_conv, norm(name="stem_norm"), act)
        x = endpoint("stem", max_pool(x, 3, stride=2, padding=1) if large else x)
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(ResNet.stage, x, train, number))
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        """Computes a stage, numbered from 1.

        Raises:
          UserError: groups of a basic block.
        """
        block = functools.partial(self.block, *self.layers(train), zero_init=self.zero_init)
        if self.block is Bottleneck:
            widths = dict(groups=self.groups, width_per_group=self.width_per_group)
            block = functools.partial(block, stride_on=self.stride_on, **widths)
        elif (self.groups, self.width_per_group) != (1, 64):
            raise UserError("groups and width_per_group are of bottlenecks, which resnet50 and deeper ones have")
        for i in range(self.stage_sizes[number - 1]):
            rate = depth_rate(self.stochastic_depth, self.stage_sizes, number, i)
            x = block(
                filters=64 * 2 ** (number - 1),
                strides=2 if number > 1 and i == 0 else 1,
                drop=self.drop_path(rate, train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        return torch_name(layer, stem=("conv1", "bn1"), shortcut=("downsample.0", "downsample.1"), head="fc")


class ResNeXt(ResNet, kw_only=True):
    """A `ResNet` whose bottlenecks have grouped convolutions."""

    paper = "Xie et al. 2016, arXiv:1611.05431"


class WideResNet(ResNet, kw_only=True):
    """A `ResNet` whose bottlenecks have more channels inside."""

    paper = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"


def torch_name(layer: str, *, stem: tuple[str, str], shortcut: tuple[str, str], head: str) -> str:
    """The name in PyTorch's ResNets, here and in `cifar_resnet`: "stage2_block1/conv1" -> "layer2.0.conv1"."""
    tops = {"stem_conv": stem[0], "stem_norm": stem[1], "head": head}
    block, _, inner = layer.partition("/")
    if block in tops:
        return tops[block]
    stage, i = block.removeprefix("stage").split("_block")
    inner = {"shortcut_conv": shortcut[0], "shortcut_norm": shortcut[1]}.get(inner, inner.replace("norm", "bn"))
    return f"layer{stage}.{int(i) - 1}.{inner}"


resnet18 = functools.partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock)
resnet34 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock)
resnet50 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck)
resnet101 = functools.partial(ResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck)
resnet152 = functools.partial(ResNet, stage_sizes=(3, 8, 36, 3), block=Bottleneck)

resnext50_32x4d = functools.partial(ResNeXt, stage_sizes=(3, 4, 6, 3), block=Bottleneck, groups=32, width_per_group=4)
resnext101_32x8d = functools.partial(ResNeXt, stage_sizes=(3, 4, 23, 3), block=Bottleneck, groups=32, width_per_group=8)
resnext101_64x4d = functools.partial(ResNeXt, stage_sizes=(3, 4, 23, 3), block=Bottleneck, groups=64, width_per_group=4)
wide_resnet50_2 = functools.partial(WideResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck, width_per_group=128)
wide_resnet101_2 = functools.partial(WideResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck, width_per_group=128)
