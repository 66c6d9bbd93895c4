"""The residual networks for ImageNet: shortcuts around every two or three convolutions made depth trainable.

| name | blocks a stage | parameters at 1,000 classes |
|---|---|---|
| resnet18 | 2, 2, 2, 2, of two 3x3 convolutions | 11,689,512 |
| resnet34 | 3, 4, 6, 3 | 21,797,672 |
| resnet50 | 3, 4, 6, 3, of 1x1, 3x3 and 1x1 ("bottleneck") | 25,557,032 |
| resnet101 | 3, 4, 23, 3 | 44,549,160 |
| resnet152 | 3, 8, 36, 3 | 60,192,808 |

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385, table 1.
"""

import functools
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import Layer, conv_norm_act, global_avg_pool, max_pool

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
        return conv_norm_act(y, conv2, norm2, self.act, x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with four times the channels at the end, around which the input is added (figure 5,
    right).

    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), 4 * filters).
    """

    conv: Layer
    norm: Layer
    act: Callable[[jax.Array], jax.Array]
    filters: int
    strides: int = 1
    stride_on: Literal["3x3", "1x1"] = "3x3"
    zero_init: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (self.strides, 1) if self.stride_on == "1x1" else (1, self.strides)
        conv3 = self.conv(4 * self.filters, 1, name="conv3")
        y = conv_norm_act(x, self.conv(self.filters, 1, first, name="conv1"), self.norm(name="norm1"), self.act)
        y = conv_norm_act(y, self.conv(self.filters, 3, second, 1, name="conv2"), self.norm(name="norm2"), self.act)
        # A last scale of zero makes each block the identity at first (Goyal et al. 2017, section 5.1).
        scale_init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        if x.shape != (*y.shape[:3], conv3.features):
            projection = self.conv(4 * self.filters, 1, self.strides, name="shortcut_conv")
            x = conv_norm_act(x, projection, self.norm(name="shortcut_norm"), None)
        return conv_norm_act(y, conv3, self.norm(scale_init=scale_init, name="norm3"), self.act, x)


def pad_channels(x: jax.Array, channels: int) -> jax.Array:
    """Option A of section 3.3: new channels of zeros, no parameters. Half of them stand on either side, as in the
    implementation whose weights are in use everywhere (github.com/akamaster/pytorch_resnet_cifar10)."""
    new = channels - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))


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
    stem: Literal["7x7", "3x3"] = "7x7"
    """How it begins: a 7x7 convolution of stride 2 and a max pool (the paper's), or for small images a 3x3 convolution
    alone, as is usual for CIFAR-10; all sizes are then four times as large."""
    zero_init: bool = True
    """Start each block as the identity, by a zero scale in its last normalization."""

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
        block = functools.partial(self.block, *self.layers(train), zero_init=self.zero_init)
        if self.block is Bottleneck:
            block = functools.partial(block, stride_on=self.stride_on)
        for i in range(self.stage_sizes[number - 1]):
            strides = 2 if number > 1 and i == 0 else 1
            x = block(64 * 2 ** (number - 1), strides, name=f"stage{number}_block{i + 1}")(x)
        return x

    def torch_name(self, layer: str) -> str:
        return torch_name(layer, stem=("conv1", "bn1"), shortcut=("downsample.0", "downsample.1"), head="fc")


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
