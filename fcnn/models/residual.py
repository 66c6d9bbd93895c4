"""The blocks of residual networks: convolutions, around which the input is added.

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385, section 3.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.nn import Layer, SqueezeExcite, avg_pool, conv_norm_act

Function = Callable[[jax.Array], jax.Array]
Shortcut = Literal["A", "projection", "avg_pool", "none"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, around which the input is added (figure 5, left).

    Where the shape changes, `shortcut` is "projection" (a 1x1 convolution), "avg_pool" (2x2 means before it), "A"
    (subsampling, and zeros for new channels); with "none", nothing is added anywhere.
    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), filters).
    """

    conv: Layer
    norm: Layer
    act: Function
    filters: int
    strides: int = 1
    shortcut: Shortcut = "projection"
    squeeze_excite: bool = False
    zero_init: bool = True
    drop: Function | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv1 = self.conv(self.filters, 3, self.strides, 1, name="conv1")
        conv2 = self.conv(self.filters, 3, 1, 1, name="conv2")
        y = conv_norm_act(x, conv1, self.norm(name="norm1"), self.act)
        same = x.shape == y.shape
        # A last scale of zero makes each block the identity at first (Goyal et al. 2017, section 5.1). Where channels
        # are padded they would be zero in every image, and since a ReLU has no gradient there, zero for good; without
        # a shortcut nothing would get through.
        zero = self.zero_init and (self.shortcut in ("projection", "avg_pool") or (self.shortcut == "A" and same))
        norm2 = self.norm(scale_init=nn.initializers.zeros if zero else nn.initializers.ones, name="norm2")
        if self.shortcut == "none":
            return conv_norm_act(y, conv2, norm2, self.act)
        if not same and self.shortcut == "A":
            x = pad_channels(x[:, :: self.strides, :: self.strides], y.shape[-1])
        elif not same:
            x = project(x, self.conv, self.norm, self.filters, self.strides, pool=self.shortcut == "avg_pool")
        se = squeeze_excite(self.conv, self.act, self.filters) if self.squeeze_excite else None
        return add_branch(x, y, conv2, norm2, self.act, se, self.drop)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with four times the channels at the end, around which the input is added (figure 5,
    right).

    The 3x3 convolution has `groups` groups of `width_per_group * filters / 64` channels. Shapes: (B, H, W, C) -> (B,
    ceil(H / strides), ceil(W / strides), 4 * filters).
    """

    conv: Layer
    norm: Layer
    act: Function
    filters: int
    strides: int = 1
    groups: int = 1
    width_per_group: int = 64
    stride_on: Literal["3x3", "1x1"] = "3x3"
    shortcut: Literal["projection", "avg_pool"] = "projection"
    squeeze_excite: bool = False
    zero_init: bool = True
    drop: Function | None = None

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
        norm3 = self.norm(scale_init=scale_init, name="norm3")
        if x.shape != (*y.shape[:3], conv3.features):
            x = project(x, self.conv, self.norm, 4 * self.filters, self.strides, pool=self.shortcut == "avg_pool")
        se = squeeze_excite(self.conv, self.act, 4 * self.filters) if self.squeeze_excite else None
        return add_branch(x, y, conv3, norm3, self.act, se, self.drop)


def project(x: jax.Array, conv: Layer, norm: Layer, features: int, strides: int, *, pool: bool) -> jax.Array:
    """Gives a shortcut the shape of a block's output by a 1x1 convolution; with `pool`, means of 2x2 come before it in
    place of strides (ResNet-D), at the border of what there is."""
    if pool and strides > 1:
        x, strides = avg_pool(x, strides, ceil_mode=True, count_include_pad=False), 1
    return conv_norm_act(x, conv(features, 1, strides, name="shortcut_conv"), norm(name="shortcut_norm"), None)


def squeeze_excite(conv: Layer, act: Function, features: int) -> SqueezeExcite:
    """Makes the layer with a sixteenth of the channels inside, in multiples of 8, as timm has it."""
    return SqueezeExcite(conv, act, features, reduced=max(8, features // 16), name="se")


def add_branch(
    x: jax.Array,
    y: jax.Array,
    conv: nn.Conv,
    norm: Function | None,
    act: Function,
    se: Function | None,
    drop: Function | None,
) -> jax.Array:
    """Computes act(drop(se(norm(conv(y)))) + x), the end of a block, without what is None."""
    if se is None:
        return conv_norm_act(y, conv, norm, act, x, drop)
    y = se(conv_norm_act(y, conv, norm, None))
    return act((y if drop is None else drop(y)) + x)


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
