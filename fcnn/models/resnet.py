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
| seresnet18 / 34 | squeeze-and-excitation before the addition [3] | 11,779,624 / 21,960,416 |
| seresnet50 / 101 | | 28,088,024 / 49,326,872 |
| resnet18d / 34d | three 3x3 convolutions in the stem, average pooling in shortcuts [4] | 11,708,744 / 21,816,904 |
| resnet50d / 101d | | 25,576,264 / 44,568,392 |

1. S. Xie, R. Girshick, P. Dollar, Z. Tu, K. He: Aggregated Residual Transformations for Deep Neural Networks,
   arXiv:1611.05431, table 1 and figure 3c.
2. S. Zagoruyko, N. Komodakis: Wide Residual Networks, arXiv:1605.07146, section 3.
3. J. Hu, L. Shen, S. Albanie, G. Sun, E. Wu: Squeeze-and-Excitation Networks, arXiv:1709.01507, figure 3.
4. T. He, Z. Zhang, H. Zhang, Z. Zhang, J. Xie, M. Li: Bag of Tricks for Image Classification with Convolutional Neural
   Networks, arXiv:1812.01187, figures 2b and 2c.
"""

import functools
from typing import Literal

import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.residual import BasicBlock, Bottleneck, depth_rate
from fcnn.nn import conv_norm_act, global_avg_pool, max_pool
from fcnn.utils.errors import UserError


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
    """Channels of each of these groups in the first stage; doubled in each later stage."""
    squeeze_excite: bool = False
    """Squeeze-and-excitation on each branch (SE-ResNet)."""
    shortcut: Literal["projection", "avg_pool"] = "projection"
    """Shortcut of blocks that halve the size: a 1x1 convolution of stride 2, or average pooling and a 1x1 convolution
    (ResNet-D)."""
    stem: Literal["7x7", "deep", "3x3"] = "7x7"
    """Stem: a 7x7 convolution of stride 2 and a max pool (the paper's); three 3x3 convolutions in place of the 7x7
    (ResNet-D); or for small images a 3x3 convolution alone, as is usual for CIFAR-10; all sizes are then four times as
    large."""
    zero_init: bool = True
    """Initialize the scale of each block's last normalization to zero, so that the block starts as the identity."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""

    paper = "He et al. 2015, arXiv:1512.03385"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        x = endpoint("stem", self.begin(x, train))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(ResNet.stage, x, train, number))
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def begin(self, x: jax.Array, train: bool) -> jax.Array:
        """Computes the stem: (B, H, W, C) -> (B, ceil(H / 4), ceil(W / 4), 64), or of the same size."""
        conv, norm, act = self.layers(train)
        if self.stem == "3x3":
            return conv_norm_act(x, conv(64, 3, 1, 1, name="stem_conv"), norm(name="stem_norm"), act)
        if self.stem == "deep":
            x = conv_norm_act(x, conv(32, 3, 2, 1, name="stem_conv1"), norm(name="stem_norm1"), act)
            x = conv_norm_act(x, conv(32, 3, 1, 1, name="stem_conv2"), norm(name="stem_norm2"), act)
            x = conv_norm_act(x, conv(64, 3, 1, 1, name="stem_conv3"), norm(name="stem_norm3"), act)
        else:
            x = conv_norm_act(x, conv(64, 7, 2, 3, name="stem_conv"), norm(name="stem_norm"), act)
        return max_pool(x, 3, stride=2, padding=1)

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        """Computes a stage, numbered from 1.

        Raises:
          UserError: groups of a basic block.
        """
        block = functools.partial(
            self.block,
            *self.layers(train),
            shortcut=self.shortcut,
            squeeze_excite=self.squeeze_excite,
            zero_init=self.zero_init,
        )
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
        if layer.startswith("stem") and self.stem == "deep":
            kind, number = layer.removeprefix("stem_")[:-1], int(layer[-1])
            return "bn1" if (kind, number) == ("norm", 3) else f"conv1.{3 * (number - 1) + (kind == 'norm')}"
        pool = int(self.shortcut == "avg_pool")  # which timm counts, in the first stage too
        shortcut = f"downsample.{pool}", f"downsample.{pool + 1}"
        return torch_name(layer, stem=("conv1", "bn1"), shortcut=shortcut, head="fc")


class ResNeXt(ResNet, kw_only=True):
    """A `ResNet` whose bottlenecks have grouped convolutions."""

    paper = "Xie et al. 2016, arXiv:1611.05431"


class WideResNet(ResNet, kw_only=True):
    """A `ResNet` whose bottlenecks have more channels inside."""

    paper = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"


class SEResNet(ResNet, kw_only=True):
    """A `ResNet` with squeeze-and-excitation."""

    paper = "Hu et al. 2017, arXiv:1709.01507"


class ResNetD(ResNet, kw_only=True):
    """A `ResNet` with a deeper stem and pooling in its shortcuts."""

    paper = "He et al. 2018, arXiv:1812.01187"


def torch_name(layer: str, *, stem: tuple[str, str], shortcut: tuple[str, str], head: str) -> str:
    """The name in PyTorch's ResNets, here and in `cifar_resnet`: "stage2_block1/conv1" -> "layer2.0.conv1"."""
    tops = {"stem_conv": stem[0], "stem_norm": stem[1], "head": head}
    block, _, inner = layer.partition("/")
    if block in tops:
        return tops[block]
    stage, i = block.removeprefix("stage").split("_block")
    inner = {"shortcut_conv": shortcut[0], "shortcut_norm": shortcut[1]}.get(inner, inner.replace("norm", "bn"))
    return f"layer{stage}.{int(i) - 1}.{inner.replace('/', '.')}"


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
seresnet18 = functools.partial(SEResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock, squeeze_excite=True)
seresnet34 = functools.partial(SEResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock, squeeze_excite=True)
seresnet50 = functools.partial(SEResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck, squeeze_excite=True)
seresnet101 = functools.partial(SEResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck, squeeze_excite=True)
_resnet_d = functools.partial(ResNetD, stem="deep", shortcut="avg_pool")
resnet18d = functools.partial(_resnet_d, stage_sizes=(2, 2, 2, 2), block=BasicBlock)
resnet34d = functools.partial(_resnet_d, stage_sizes=(3, 4, 6, 3), block=BasicBlock)
resnet50d = functools.partial(_resnet_d, stage_sizes=(3, 4, 6, 3), block=Bottleneck)
resnet101d = functools.partial(_resnet_d, stage_sizes=(3, 4, 23, 3), block=Bottleneck)
