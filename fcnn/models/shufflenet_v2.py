"""ShuffleNet v2: half of the channels pass each block as they are, and a shuffle mixes the halves; as fast as its few
multiply-adds promise, since it also saves memory traffic.

| name | channels of the stages and of the last convolution | parameters at 1,000 classes |
|---|---|---|
| shufflenet_v2_x0_5 | 48, 96, 192, 1024 | 1,366,792 |
| shufflenet_v2_x1_0 | 116, 232, 464, 1024 | 2,278,604 |
| shufflenet_v2_x1_5 | 176, 352, 704, 1024 | 3,503,624 |
| shufflenet_v2_x2_0 | 244, 488, 976, 2048 | 7,393,996 |

N. Ma, X. Zhang, H.-T. Zheng, J. Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design,
arXiv:1807.11164, table 5.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.inverted_residual import split
from fcnn.nn import Layer, conv_norm_act, global_avg_pool, max_pool


class ShuffleBlock(nn.Module):
    """A 1x1, a depthwise 3x3 and a 1x1 convolution of one half of the channels, beside the other half (figure 3c).

    With a stride of 2, each branch has all channels of the input, and the other one a depthwise and a 1x1 convolution
    too (figure 3d). Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), features).
    """

    conv: Layer
    norm: Layer
    act: Callable[[jax.Array], jax.Array]
    inputs: int
    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        half = self.features // 2
        if self.strides == 1:
            shortcut, y = jnp.split(x, 2, axis=-1)
        else:
            y, shortcut = x, self.depthwise(x, self.inputs, "shortcut_depthwise")
            conv, norm = self.conv(half, 1, name="shortcut_conv"), self.norm(name="shortcut_norm")
            shortcut = conv_norm_act(shortcut, conv, norm, self.act)
        y = conv_norm_act(y, self.conv(half, 1, name="conv1"), self.norm(name="norm1"), self.act)
        y = self.depthwise(y, half, "depthwise")
        y = conv_norm_act(y, self.conv(half, 1, name="conv2"), self.norm(name="norm2"), self.act)
        return interleave(shortcut, y)

    def depthwise(self, x: jax.Array, features: int, name: str) -> jax.Array:
        """Computes a depthwise convolution and its normalization, which no activation follows."""
        conv = self.conv(features, 3, self.strides, 1, feature_group_count=x.shape[-1], name=f"{name}_conv")
        return conv_norm_act(x, conv, self.norm(name=f"{name}_norm"), None)


def interleave(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the channels of two arrays (B, H, W, C) in turns: (B, H, W, 2 C)."""
    return jnp.stack([a, b], axis=-1).reshape(*a.shape[:-1], -1)


class ShuffleNetV2(Classifier, kw_only=True):
    """A 3x3 convolution and a max pool, three stages of shuffled blocks down to 1/32 of the size, a 1x1 convolution,
    average pooling, a dense layer.

    Images of any size. Endpoints: stem, stage1 to stage3 (the paper's 2 to 4), pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    filters: tuple[int, ...]
    """Channels of the first convolution, of the stages, and of the last convolution."""

    paper = "Ma et al. 2018, arXiv:1807.11164"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = conv_norm_act(x, conv(self.filters[0], 3, 2, 1, name="stem_conv"), norm(name="stem_norm"), act)
        x = endpoint("stem", max_pool(x, 3, stride=2, padding=1))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(ShuffleNetV2.stage, x, train, number))
        x = conv_norm_act(x, conv(self.filters[-1], 1, name="last_conv"), norm(name="last_norm"), act)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            x = ShuffleBlock(
                *self.layers(train),
                inputs=self.filters[number - 1 if i == 0 else number],
                features=self.filters[number],
                strides=2 if i == 0 else 1,
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        tops = {"stem_conv": "conv1.0", "stem_norm": "conv1.1", "last_conv": "conv5.0", "last_norm": "conv5.1"}
        block, _, inner = layer.partition("/")
        if not inner:
            return tops.get(block, "fc")
        number, i = split(block)
        return f"stage{number + 1}.{i}.{BRANCHES[inner]}"


# torchvision counts convolutions, normalizations and activations of each branch.
BRANCHES = {
    "shortcut_depthwise_conv": "branch1.0",
    "shortcut_depthwise_norm": "branch1.1",
    "shortcut_conv": "branch1.2",
    "shortcut_norm": "branch1.3",
    "conv1": "branch2.0",
    "norm1": "branch2.1",
    "depthwise_conv": "branch2.3",
    "depthwise_norm": "branch2.4",
    "conv2": "branch2.5",
    "norm2": "branch2.6",
}

shufflenet_v2_x0_5 = functools.partial(ShuffleNetV2, stage_sizes=(4, 8, 4), filters=(24, 48, 96, 192, 1024))
shufflenet_v2_x1_0 = functools.partial(ShuffleNetV2, stage_sizes=(4, 8, 4), filters=(24, 116, 232, 464, 1024))
shufflenet_v2_x1_5 = functools.partial(ShuffleNetV2, stage_sizes=(4, 8, 4), filters=(24, 176, 352, 704, 1024))
shufflenet_v2_x2_0 = functools.partial(ShuffleNetV2, stage_sizes=(4, 8, 4), filters=(24, 244, 488, 976, 2048))
