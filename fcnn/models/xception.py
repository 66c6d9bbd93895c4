"""Xception: Inception's branches taken to their extreme, a 3x3 convolution of each channel by itself before a 1x1.

| name | parameters at 1,000 classes |
|---|---|
| xception | 22,855,952 |

F. Chollet: Xception: Deep Learning with Depthwise Separable Convolutions, arXiv:1610.02357, figure 5; layer by layer as
timm has it, whose weights are Keras's.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax

from fcnn.models.classifier import PLUS_MINUS_ONE, Classifier, EndpointFn
from fcnn.nn import Layer, conv_norm_act, global_avg_pool, max_pool

Function = Callable[[jax.Array], jax.Array]


class SeparableConvNormAct(nn.Module):
    """A 3x3 depthwise convolution, a 1x1 convolution, normalization, activation.

    Shapes: (B, H, W, inputs) -> (B, H, W, features).
    """

    conv: Layer
    norm: Layer
    act: Function | None
    inputs: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array, shortcut: jax.Array | None = None) -> jax.Array:
        x = self.conv(self.inputs, 3, padding=1, feature_group_count=x.shape[-1], name="depthwise")(x)
        pointwise = self.conv(self.features, 1, name="pointwise")
        return conv_norm_act(x, pointwise, self.norm(name="norm"), self.act, shortcut)


class XceptionBlock(nn.Module):
    """Separable convolutions with an activation before each one, around which the input is added; a block that changes
    the shape ends in a max pool of stride 2 and has a 1x1 convolution in its shortcut.

    Fields:
      channels: of the input and behind each separable convolution.
      first_act: whether there is an activation before the first one; the stem ends in one.

    Shapes: (B, H, W, channels[0]) -> (B, ceil(H / strides), ceil(W / strides), channels[-1]).
    """

    conv: Layer
    norm: Layer
    act: Function
    channels: tuple[int, ...]
    strides: int = 1
    first_act: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.act(x) if self.first_act else x
        last = len(self.channels) - 1
        for i in range(1, last):
            y = self.separable(i, self.act)(y)
        if self.strides == 1:
            return self.separable(last, None)(y, x)
        y = max_pool(self.separable(last, None)(y), 3, stride=self.strides, padding=1)
        shortcut = self.conv(self.channels[-1], 1, self.strides, name="shortcut_conv")
        return y + conv_norm_act(x, shortcut, self.norm(name="shortcut_norm"), None)

    def separable(self, i: int, act: Function | None) -> SeparableConvNormAct:
        """Makes the separable convolution of number i."""
        return SeparableConvNormAct(self.conv, self.norm, act, *self.channels[i - 1 : i + 1], name=f"conv{i}")


class Xception(Classifier, kw_only=True):
    """Two convolutions, four stages of residual blocks at 1/4, 1/8, 1/16 and 1/32 of the size, two separable
    convolutions, average pooling, a dense layer; 299x299 in the paper.

    The first block of a stage has two separable convolutions, the others have three. Endpoints: stem, stage1 to stage4,
    pool.
    """

    stage_sizes: tuple[int, int, int, int]
    """Blocks a stage."""

    paper = "Chollet 2016, arXiv:1610.02357"
    image_shape = (299, 299, 3)
    filters = (64, 128, 256, 728, 1024)
    """Channels of the stem and of the stages."""

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        x = self.conv_norm_act(train)(32, 3, 2, name="conv1")(x)
        x = endpoint("stem", self.conv_norm_act(train)(64, 3, name="conv2")(x))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(Xception.stage, x, train, number))
        x = SeparableConvNormAct(*self.layers(train), 1024, 1536, name="conv3")(x)
        x = SeparableConvNormAct(*self.layers(train), 1536, 2048, name="conv4")(x)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.5, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        block = functools.partial(XceptionBlock, *self.layers(train))
        before, filters = self.filters[number - 1 : number + 1]
        # The last stage widens in its second convolution, the others in their first.
        channels = (before, before if number == len(self.stage_sizes) else filters, filters)
        x = block(channels, strides=2, first_act=number > 1, name=f"stage{number}_block1")(x)
        for i in range(2, self.stage_sizes[number - 1] + 1):
            x = block((filters,) * 4, name=f"stage{number}_block{i}")(x)
        return x

    def smallest(self, *, train: bool) -> int:
        return 7

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return PLUS_MINUS_ONE

    def torch_name(self, layer: str) -> str:
        top, _, inner = layer.partition("/")
        separable = {"depthwise": "conv1", "pointwise": "pointwise"}
        if top == "head":
            return "fc"
        if top.startswith("conv") and inner == "norm":
            return top.replace("conv", "bn")
        if top.startswith("conv"):
            return f"{top}.{separable[inner]}" if inner in separable else top
        stage, i = (int(number) for number in top.removeprefix("stage").split("_block"))
        block = f"block{sum(self.stage_sizes[: stage - 1]) + i}"
        if inner.startswith("shortcut"):
            return f"{block}.{'skip' if inner == 'shortcut_conv' else 'skipbn'}"
        conv, part = inner.split("/")
        # timm counts activations, separable convolutions and norms of one sequence; the first block begins without.
        place = 3 * int(conv.removeprefix("conv")) - (3 if block == "block1" else 2)
        return f"{block}.rep.{place + 1}" if part == "norm" else f"{block}.rep.{place}.{separable[part]}"


xception = functools.partial(Xception, stage_sizes=(1, 1, 9, 1))
