"""DenseNet: every layer reads the outputs of all layers before it, so that few new channels a layer are enough.

| name | layers a block | new channels a layer | parameters at 1,000 classes |
|---|---|---|---|
| densenet121 | 6, 12, 24, 16 | 32 | 7,978,856 |
| densenet161 | 6, 12, 36, 24 | 48 | 28,681,000 |
| densenet169 | 6, 12, 32, 32 | 32 | 14,149,480 |
| densenet201 | 6, 12, 48, 32 | 32 | 20,013,928 |

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger: Densely Connected Convolutional Networks, arXiv:1608.06993, table 1:
"DenseNet-BC", with bottlenecks and with transitions that halve the channels. The 161 is the authors' wide one
(github.com/liuzhuang13/DenseNet).
"""

import functools
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import Layer, avg_pool, conv_norm_act, global_avg_pool, max_pool, norm_act


class DenseLayer(nn.Module):
    """Normalization, activation and a convolution, of 1x1 to 4 x growth channels and of 3x3 to `growth`, which are
    appended to the input.

    Shapes: (B, H, W, C) -> (B, H, W, C + growth).
    """

    conv: Layer
    norm: Layer
    act: Callable[[jax.Array], jax.Array]
    growth: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = norm_act(x, self.norm(name="norm1"), self.act)
        y = conv_norm_act(y, self.conv(4 * self.growth, 1, name="conv1"), self.norm(name="norm2"), self.act)
        y = self.conv(self.growth, 3, padding=1, name="conv2")(y)
        return jnp.concatenate([x, y], axis=-1)


class DenseNet(Classifier, kw_only=True):
    """A convolution and a max pool, four dense blocks with transitions between them, which halve channels and size,
    normalization, activation, average pooling, a dense layer.

    Endpoints: stem, stage1 to stage4 (the dense blocks), pool.
    """

    stage_sizes: tuple[int, ...]
    """Layers a block."""
    growth: int
    """Channels that a layer appends; the first convolution has twice as many."""
    stem: Literal["7x7", "3x3"] = "7x7"
    """Stem: a 7x7 convolution of stride 2 and a max pool, or for small images a 3x3 convolution alone, as in the
    paper's networks for CIFAR-10 (three blocks of 16 layers with a growth of 12: 0.8M parameters)."""

    paper = "Huang et al. 2016, arXiv:1608.06993"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        channels = 2 * self.growth
        if self.stem == "7x7":
            x = conv_norm_act(x, conv(channels, 7, 2, 3, name="stem_conv"), norm(name="stem_norm"), act)
            x = max_pool(x, 3, stride=2, padding=1)
        else:
            x = conv(channels, 3, padding=1, name="stem_conv")(x)
        x = endpoint("stem", x)
        for number, layers in enumerate(self.stage_sizes, start=1):
            x = endpoint(f"stage{number}", self.checkpointed(DenseNet.stage, x, train, number))
            if number < len(self.stage_sizes):
                channels = (channels + layers * self.growth) // 2
                x = norm_act(x, norm(name=f"transition{number}_norm"), act)
                x = avg_pool(conv(channels, 1, name=f"transition{number}_conv")(x), 2)
        x = norm_act(x, norm(name="last_norm"), act)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            x = DenseLayer(*self.layers(train), self.growth, name=f"stage{number}_layer{i + 1}")(x)
        return x

    def smallest(self, *, train: bool) -> int:
        least = 2 ** (len(self.stage_sizes) - 1)  # for the pools between the blocks
        return 4 * least - 3 if self.stem == "7x7" else least

    def torch_name(self, layer: str) -> str:
        tops = {"stem_conv": "features.conv0", "stem_norm": "features.norm0", "last_norm": "features.norm5"}
        if layer in tops or layer == "head":
            return tops.get(layer, "classifier")
        name = layer.replace("stage", "denseblock").replace("_layer", ".denselayer").replace("_", ".")
        return "features." + name.replace("/", ".")

    def timm_name(self, layer: str) -> str:
        # timm has torchvision's names. torchvision's own files are older and have "denselayer1.norm.1".
        name = self.torch_name(layer)
        return f"{name[:-1]}.{name[-1]}" if "denselayer" in name else name


densenet121 = functools.partial(DenseNet, stage_sizes=(6, 12, 24, 16), growth=32)
densenet161 = functools.partial(DenseNet, stage_sizes=(6, 12, 36, 24), growth=48)
densenet169 = functools.partial(DenseNet, stage_sizes=(6, 12, 32, 32), growth=32)
densenet201 = functools.partial(DenseNet, stage_sizes=(6, 12, 48, 32), growth=32)
