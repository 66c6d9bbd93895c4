"""RegNet: networks from a design space that was narrowed down by hundreds of trainings instead of by hand.

Of all networks of four stages of bottlenecks with grouped convolutions, good ones have widths that grow linearly with
the block's number; a name says which multiply-adds a member was chosen for. RegNet Y adds squeeze-and-excitation to X.

| name | blocks a stage | channels a stage | channels a group | parameters at 1,000 classes |
|---|---|---|---|---|
| regnet_x_400mf | 1, 2, 7, 12 | 32, 64, 160, 400 | 16 | 5,495,976 |
| regnet_x_800mf | 1, 3, 7, 5 | 64, 128, 288, 672 | 16 | 7,259,656 |
| regnet_x_1_6gf | 2, 4, 10, 2 | 72, 168, 408, 912 | 24 | 9,190,136 |
| regnet_x_3_2gf | 2, 6, 15, 2 | 96, 192, 432, 1008 | 48 | 15,296,552 |
| regnet_x_8gf | 2, 5, 15, 1 | 80, 240, 720, 1920 | 120, at first 80 | 39,572,648 |
| regnet_x_16gf | 2, 6, 13, 1 | 256, 512, 896, 2048 | 128 | 54,278,536 |
| regnet_x_32gf | 2, 7, 13, 1 | 336, 672, 1344, 2520 | 168 | 107,811,560 |
| regnet_y_400mf | 1, 3, 6, 6 | 48, 104, 208, 440 | 8 | 4,344,144 |
| regnet_y_800mf | 1, 3, 8, 2 | 64, 144, 320, 784 | 16 | 6,432,512 |
| regnet_y_1_6gf | 2, 6, 17, 2 | 48, 120, 336, 888 | 24 | 11,202,430 |
| regnet_y_3_2gf | 2, 5, 13, 1 | 72, 216, 576, 1512 | 24 | 19,436,338 |
| regnet_y_8gf | 2, 4, 10, 1 | 224, 448, 896, 2016 | 56 | 39,381,472 |
| regnet_y_16gf | 2, 4, 11, 1 | 224, 448, 1232, 3024 | 112 | 83,590,140 |
| regnet_y_32gf | 2, 5, 12, 1 | 232, 696, 1392, 3712 | 232 | 145,046,770 |

timm calls them regnetx_004_tv, 008, 016, 032, 080, 160, 320 and regnety_004, 008_tv, 016, 032, 080_tv, 160, 320; its
regnetx_004, regnety_008 and regnety_080 are other networks.

I. Radosavovic, R. Kosaraju, R. Girshick, K. He, P. Dollar: Designing Network Design Spaces, arXiv:2003.13678,
figures 16 and 17.
"""

import functools
import math

import flax.linen as nn
import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.residual import Function, depth_rate, project
from fcnn.nn import Layer, SqueezeExcite, conv_norm_act, global_avg_pool


class RegNetBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions with the same number of channels, around which the input is added.

    Behind the 3x3 stands squeeze-and-excitation with `reduced` channels inside, unless that is None.
    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), features).
    """

    conv: Layer
    norm: Layer
    act: Function
    features: int
    groups: int
    strides: int = 1
    reduced: int | None = None
    drop: Function | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = conv_norm_act(x, self.conv(self.features, 1, name="conv1"), self.norm(name="norm1"), self.act)
        groups = math.gcd(self.groups, y.shape[-1])
        conv2 = self.conv(self.features, 3, self.strides, 1, feature_group_count=groups, name="conv2")
        y = conv_norm_act(y, conv2, self.norm(name="norm2"), self.act)
        if self.reduced is not None:
            y = SqueezeExcite(self.conv, self.act, self.features, self.reduced, name="se")(y)
        if x.shape != y.shape:
            x = project(x, self.conv, self.norm, self.features, self.strides, pool=False)
        conv3 = self.conv(self.features, 1, name="conv3")
        return conv_norm_act(y, conv3, self.norm(name="norm3"), self.act, x, self.drop)


class RegNet(Classifier, kw_only=True):
    """A 3x3 convolution of stride 2, four stages at 1/4, 1/8, 1/16 and 1/32 of the size, average pooling, a dense
    layer.

    Images of any size. Endpoints: stem, stage1 to stage4, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    filters: tuple[int, ...]
    """Channels a stage; the stem has 32."""
    group_width: int
    """Channels of each group of the 3x3 convolutions; in a stage with fewer there is one group."""
    squeeze_excite: bool = False
    """Squeeze-and-excitation on each branch (RegNet Y)."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""

    paper = "Radosavovic et al. 2020, arXiv:2003.13678"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = endpoint("stem", conv_norm_act(x, conv(32, 3, 2, 1, name="stem_conv"), norm(name="stem_norm"), act))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(RegNet.stage, x, train, number))
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        before, features = (32, *self.filters)[number - 1 : number + 1]
        for i in range(self.stage_sizes[number - 1]):
            x = RegNetBlock(
                *self.layers(train),
                features=features,
                groups=max(1, features // self.group_width),
                strides=2 if i == 0 else 1,
                reduced=(before if i == 0 else features) // 4 if self.squeeze_excite else None,
                drop=self.drop_path(depth_rate(self.stochastic_depth, self.stage_sizes, number, i), train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        block, _, inner = layer.partition("/")
        tops = {"stem_conv": "stem.0", "stem_norm": "stem.1", "head": "fc"}
        if block in tops:
            return tops[block]
        stage, i = block.removeprefix("stage").split("_block")
        block = f"trunk_output.block{stage}.block{stage}-{int(i) - 1}"
        if inner.startswith("se/"):
            return f"{block}.f.{inner.replace('/', '.')}"
        if inner.startswith("shortcut"):
            return f"{block}.proj.{int(inner == 'shortcut_norm')}"
        return f"{block}.f.{'abc'[int(inner[-1]) - 1]}.{int('norm' in inner)}"

    def timm_name(self, layer: str) -> str:
        block, _, inner = layer.partition("/")
        tops = {"stem_conv": "stem.conv", "stem_norm": "stem.bn", "head": "head.fc"}
        if block in tops:
            return tops[block]
        block = block.replace("stage", "s").replace("_block", ".b")
        if inner.startswith("se/"):
            return f"{block}.{inner.replace('/', '.')}"
        kind = "conv" if "conv" in inner else "bn"
        return f"{block}.{'downsample' if inner.startswith('shortcut') else f'conv{inner[-1]}'}.{kind}"


regnet_x_400mf = functools.partial(RegNet, stage_sizes=(1, 2, 7, 12), filters=(32, 64, 160, 400), group_width=16)
regnet_x_800mf = functools.partial(RegNet, stage_sizes=(1, 3, 7, 5), filters=(64, 128, 288, 672), group_width=16)
regnet_x_1_6gf = functools.partial(RegNet, stage_sizes=(2, 4, 10, 2), filters=(72, 168, 408, 912), group_width=24)
regnet_x_3_2gf = functools.partial(RegNet, stage_sizes=(2, 6, 15, 2), filters=(96, 192, 432, 1008), group_width=48)
regnet_x_8gf = functools.partial(RegNet, stage_sizes=(2, 5, 15, 1), filters=(80, 240, 720, 1920), group_width=120)
regnet_x_16gf = functools.partial(RegNet, stage_sizes=(2, 6, 13, 1), filters=(256, 512, 896, 2048), group_width=128)
regnet_x_32gf = functools.partial(RegNet, stage_sizes=(2, 7, 13, 1), filters=(336, 672, 1344, 2520), group_width=168)
_y = functools.partial(RegNet, squeeze_excite=True)
regnet_y_400mf = functools.partial(_y, stage_sizes=(1, 3, 6, 6), filters=(48, 104, 208, 440), group_width=8)
regnet_y_800mf = functools.partial(_y, stage_sizes=(1, 3, 8, 2), filters=(64, 144, 320, 784), group_width=16)
regnet_y_1_6gf = functools.partial(_y, stage_sizes=(2, 6, 17, 2), filters=(48, 120, 336, 888), group_width=24)
regnet_y_3_2gf = functools.partial(_y, stage_sizes=(2, 5, 13, 1), filters=(72, 216, 576, 1512), group_width=24)
regnet_y_8gf = functools.partial(_y, stage_sizes=(2, 4, 10, 1), filters=(224, 448, 896, 2016), group_width=56)
regnet_y_16gf = functools.partial(_y, stage_sizes=(2, 4, 11, 1), filters=(224, 448, 1232, 3024), group_width=112)
regnet_y_32gf = functools.partial(_y, stage_sizes=(2, 5, 12, 1), filters=(232, 696, 1392, 3712), group_width=232)
