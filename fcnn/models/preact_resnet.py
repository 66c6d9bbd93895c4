"""Residual networks with normalization and activation before the convolutions, so that shortcuts are free of both.

| name | blocks a stage | parameters at 10 classes |
|---|---|---|
| preact_resnet110 | 18, of two 3x3 convolutions | 1,727,962 |
| preact_resnet164 | 18, of 1x1, 3x3 and 1x1 | 1,703,258 |
| preact_resnet1001 | 111, of 1x1, 3x3 and 1x1 | 10,327,706 |

K. He, X. Zhang, S. Ren, J. Sun: Identity Mappings in Deep Residual Networks, arXiv:1603.05027, figure 4e and appendix.
"""

import flax.linen as nn
import jax

from fcnn.models.cifar_resnet import pad_channels
from fcnn.models.classifier import Classifier, Layers
from fcnn.models.resnet import torch_name
from fcnn.nn import global_avg_pool


class Block(nn.Module):
    """(Normalization, activation, convolution) two or three times, added to the input.

    A block that changes the shape takes its shortcut behind the first activation (appendix): with bottlenecks a 1x1
    convolution, else the zero padding of the 110-layer network of 2015.
    """

    layers: Layers
    width: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w = self.width
        # Channels, kernel, stride, padding.
        convs = [(w, 3, self.stride, 1), (w, 3, 1, 1)]
        if self.bottleneck:
            convs = [(w, 1, 1, 0), (w, 3, self.stride, 1), (4 * w, 1, 1, 0)]
        shortcut = x
        out = self.layers.channels(convs[-1][0])
        y = x
        for i, conv in enumerate(convs, start=1):
            y = self.layers.norm(name=f"norm{i}")(y)
            if i == 1 and (self.stride > 1 or x.shape[-1] != out):
                shortcut = y
            y = self.layers.conv(*conv, name=f"conv{i}")(y)
        if shortcut.shape == y.shape:
            return shortcut + y
        if self.bottleneck:
            return self.layers.conv(convs[-1][0], 1, self.stride, name="shortcut_conv")(shortcut) + y
        return pad_channels(shortcut[:, :: self.stride, :: self.stride], out) + y


class PreActResNet(Classifier, kw_only=True):
    """A 3x3 convolution, three stages of pre-activation blocks with 16, 32 and 64 channels (four times as many between
    bottlenecks), normalization, activation, average pooling, a dense layer.

    Images of any size, 32x32 in the paper. Endpoints: stem, stage1 to stage3, pool.
    """

    blocks: int
    """Blocks a stage."""
    bottleneck: bool

    paper = "He et al. 2016, arXiv:1603.05027"
    classes = 10
    image_shape = (32, 32, 3)

    def forward(self, x: jax.Array, layers: Layers) -> jax.Array:
        x = layers.endpoint("stem", layers.conv(16, 3, padding=1, name="stem_conv")(x))
        for number in (1, 2, 3):
            x = layers.stage(f"stage{number}", PreActResNet._stage, x, number)
        x = layers.norm(name="last_norm")(x)
        x = layers.endpoint("pool", global_avg_pool(x))
        return layers.head(layers.dropout(x, 0.0))

    def _stage(self, x: jax.Array, layers: Layers, number: int) -> jax.Array:
        for i in range(1, self.blocks + 1):
            x = Block(
                layers,
                width=16 * 2 ** (number - 1),
                stride=2 if number > 1 and i == 1 else 1,
                bottleneck=self.bottleneck,
                name=f"stage{number}_block{i}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        if layer == "last_norm":
            return "bn"
        return torch_name(layer, stem=("conv1", "bn1"), shortcut=("shortcut.0", "shortcut.1"), head="linear")
