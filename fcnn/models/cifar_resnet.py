"""The small residual networks for 32x32 images, and the plain ones without shortcuts that they were held against.

| name | parameters at 10 classes and 3 channels, option-A shortcuts |
|---|---|
| resnet20 / 32 / 44 / 56 | 269,722 / 464,154 / 658,586 / 853,018 |
| resnet110 / 1202 | 1,727,962 / 19,421,274 |

plain20 to plain110 have as many: option-A shortcuts have no parameters.

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385, section 4.2.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, Layers
from fcnn.models.resnet import torch_name
from fcnn.nn import global_avg_pool

Shortcut = Literal["A", "projection", "none"]


class Block(nn.Module):
    """Two 3x3 convolutions, each with normalization, around which the input is added (figure 2).

    Shapes: (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """

    layers: Layers
    width: int
    stride: int
    shortcut: Shortcut
    zero_init: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm, add = self.layers.conv, self.layers.norm, self.layers.add
        y = conv(self.width, 3, self.stride, padding=1, name="conv1")(x)
        y = norm(name="norm1")(y)
        y = conv(self.width, 3, padding=1, name="conv2")(y)
        # A last scale of zero makes each block the identity at first (Goyal et al. 2017, section 5.1). Where channels
        # are padded they would be zero in every image, and since a ReLU has no gradient there, zero for good; without
        # a shortcut nothing would get through.
        whole = self.shortcut == "projection" or (self.shortcut == "A" and x.shape == y.shape)
        zero = self.zero_init and whole
        y = norm(act=False, scale_init=nn.initializers.zeros if zero else nn.initializers.ones, name="norm2")(y)
        if self.shortcut == "none":
            return self.layers.act(y)
        if x.shape != y.shape and self.shortcut == "A":
            return add(y, pad_channels(x[:, :: self.stride, :: self.stride], y.shape[-1]))
        if x.shape != y.shape:
            x = conv(self.width, 1, self.stride, name="shortcut_conv")(x)
            x = norm(act=False, name="shortcut_norm")(x)
        return add(y, x)


def pad_channels(x: jax.Array, channels: int) -> jax.Array:
    """Option A of section 3.3: new channels of zeros, no parameters. Half of them stand on either side, as in the
    implementation whose weights are in use everywhere (github.com/akamaster/pytorch_resnet_cifar10)."""
    new = channels - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))


class CifarResNet(Classifier, kw_only=True):
    """A 3x3 convolution, three stages of `blocks` residual blocks with 16, 32 and 64 channels at full, half and quarter
    size, average pooling, a dense layer: 6 x blocks + 2 layers.

    Images of any size, 32x32 in the paper. Endpoints: stem, stage1 to stage3, pool.
    """

    blocks: int
    """Residual blocks a stage."""
    shortcut: Shortcut = "A"
    """Where a block changes the shape: zero padding (the paper's choice for these networks) or a 1x1 convolution. With
    "none", no block has a shortcut: the paper's plain networks."""
    zero_init: bool = True
    """Start each block as the identity, by a zero scale in its last normalization, but for those that pad channels."""

    paper = "He et al. 2015, arXiv:1512.03385"
    classes = 10
    image_shape = (32, 32, 3)

    def forward(self, x: jax.Array, layers: Layers) -> jax.Array:
        x = layers.conv(16, 3, padding=1, name="stem_conv")(x)
        x = layers.endpoint("stem", layers.norm(name="stem_norm")(x))
        for number in (1, 2, 3):
            x = layers.stage(f"stage{number}", CifarResNet._stage, x, number)
        x = layers.endpoint("pool", global_avg_pool(x))
        return layers.head(layers.dropout(x, 0.0))

    def _stage(self, x: jax.Array, layers: Layers, number: int) -> jax.Array:
        for i in range(1, self.blocks + 1):
            x = Block(
                layers,
                width=16 * 2 ** (number - 1),
                stride=2 if number > 1 and i == 1 else 1,
                shortcut=self.shortcut,
                zero_init=self.zero_init,
                name=f"stage{number}_block{i}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        return torch_name(layer, stem=("conv1", "bn1"), shortcut=("shortcut.0", "shortcut.1"), head="linear")
