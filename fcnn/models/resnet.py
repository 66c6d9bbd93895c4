"""The residual networks for ImageNet: shortcuts around every two or three convolutions made depth trainable.

| name | blocks | parameters at 1,000 classes |
|---|---|---|
| resnet18 | 2, 2, 2, 2, of two 3x3 convolutions | 11,689,512 |
| resnet34 | 3, 4, 6, 3 | 21,797,672 |
| resnet50 | 3, 4, 6, 3, of 1x1, 3x3 and 1x1 ("bottleneck") | 25,557,032 |
| resnet101 | 3, 4, 23, 3 | 44,549,160 |
| resnet152 | 3, 8, 36, 3 | 60,192,808 |

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385, table 1.
"""

from typing import Literal

import flax.linen as nn
import jax

from fcnn.models.classifier import Classifier, Layers
from fcnn.nn import global_avg_pool, max_pool


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 with four times the channels at the end, around which the input is
    added (figure 5).

    Shapes: (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width or 4 x width).
    """

    layers: Layers
    width: int
    stride: int
    bottleneck: bool
    stride_on: Literal["3x3", "1x1"]
    zero_init: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (self.stride, 1) if self.stride_on == "1x1" or not self.bottleneck else (1, self.stride)
        w = self.width
        # Channels, kernel, stride, padding.
        convs = [(w, 1, first, 0), (w, 3, second, 1), (4 * w, 1, 1, 0)]
        if not self.bottleneck:
            convs = [(w, 3, first, 1), (w, 3, second, 1)]
        y = x
        for i, conv in enumerate(convs, start=1):
            last = i == len(convs)
            y = self.layers.conv(*conv, name=f"conv{i}")(y)
            # A last scale of zero makes each block the identity at first (Goyal et al. 2017, section 5.1).
            scale_init = nn.initializers.zeros if self.zero_init and last else nn.initializers.ones
            y = self.layers.norm(act=not last, scale_init=scale_init, name=f"norm{i}")(y)
        if x.shape != y.shape:
            x = self.layers.conv(convs[-1][0], 1, self.stride, name="shortcut_conv")(x)
            x = self.layers.norm(act=False, name="shortcut_norm")(x)
        return self.layers.add(y, x)


class ResNet(Classifier, kw_only=True):
    """A convolution and a max pool, four stages of residual blocks at 1/4, 1/8, 1/16 and 1/32 of the size, average
    pooling, a dense layer.

    Images of any size. Endpoints: stem, stage1 to stage4, pool.
    """

    blocks: tuple[int, int, int, int]
    """Blocks a stage."""
    bottleneck: bool
    stride_on: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck halves the size: the 3x3 ("v1.5", torchvision's) or the first 1x1 (the
    paper's)."""
    stem: Literal["7x7", "3x3"] = "7x7"
    """How it begins: a 7x7 convolution of stride 2 and a max pool (the paper's), or for small images a 3x3 convolution
    alone, as is usual for CIFAR-10; all sizes are then four times as large."""
    zero_init: bool = True
    """Start each block as the identity, by a zero scale in its last normalization."""

    paper = "He et al. 2015, arXiv:1512.03385"

    def forward(self, x: jax.Array, layers: Layers) -> jax.Array:
        large = self.stem == "7x7"
        x = layers.conv(64, 7, 2, 3, name="stem_conv")(x) if large else layers.conv(64, 3, 1, 1, name="stem_conv")(x)
        x = layers.norm(name="stem_norm")(x)
        x = layers.endpoint("stem", max_pool(x, 3, stride=2, padding=1) if large else x)
        for number in (1, 2, 3, 4):
            x = layers.stage(f"stage{number}", ResNet._stage, x, number)
        x = layers.endpoint("pool", global_avg_pool(x))
        return layers.head(layers.dropout(x, 0.0))

    def _stage(self, x: jax.Array, layers: Layers, number: int) -> jax.Array:
        for i in range(1, self.blocks[number - 1] + 1):
            x = Block(
                layers,
                width=64 * 2 ** (number - 1),
                stride=2 if number > 1 and i == 1 else 1,
                bottleneck=self.bottleneck,
                stride_on=self.stride_on,
                zero_init=self.zero_init,
                name=f"stage{number}_block{i}",
            )(x)
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
