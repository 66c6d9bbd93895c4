"""MNASNet: MobileNet v2's blocks, of which a search chose kernel sizes, channels and numbers by the time that a phone
takes.

| name | channels of the first two convolutions and of the stages | parameters at 1,000 classes |
|---|---|---|
| mnasnet0_5 | 16, 8, 16, 24, 40, 48, 96, 160 | 2,218,512 |
| mnasnet0_75 | 24, 16, 24, 32, 64, 72, 144, 240 | 3,170,208 |
| mnasnet1_0 | 32, 16, 24, 40, 80, 96, 192, 320 | 4,383,312 |
| mnasnet1_3 | 40, 24, 32, 56, 104, 128, 248, 416 | 6,282,256 |

M. Tan, B. Chen, R. Pang, V. Vasudevan, M. Sandler, A. Howard, Q. V. Le: MnasNet: Platform-Aware Neural Architecture
Search for Mobile, arXiv:1807.11626, section 5: "MnasNet-B1", without squeeze-and-excitation.
"""

import functools

import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.inverted_residual import InvertedResidual, split, timm_network_name
from fcnn.models.resnet import depth_rate
from fcnn.nn import conv_norm_act, global_avg_pool

KERNEL_SIZES = (3, 5, 5, 3, 5, 3)  # of a stage's depthwise convolutions
STRIDES = (2, 2, 2, 1, 2, 1)  # of a stage's first block
EXPANSIONS = (3, 3, 6, 6, 6, 6)  # how many times more channels a depthwise convolution has than the block's input


class MNASNet(Classifier, kw_only=True):
    """A 3x3 convolution, a depthwise and a 1x1 one, six stages of inverted residuals down to 1/32 of the size, a 1x1
    convolution, average pooling, a dense layer.

    Images of any size. Endpoints: stem, stage1 to stage6, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    filters: tuple[int, ...]
    """Channels of the first convolution, of the 1x1 convolution after it, and of the stages."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""

    paper = "Tan et al. 2018, arXiv:1807.11626"
    momentum = 0.9997

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        first, second, *_ = self.filters
        x = conv_norm_act(x, conv(first, 3, 2, 1, name="stem_conv"), norm(name="stem_norm"), act)
        x = InvertedResidual(conv, norm, act, second, first, expand=False, shortcut=False, name="separable")(x)
        x = endpoint("stem", x)
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(MNASNet.stage, x, train, number))
        x = conv_norm_act(x, conv(1280, 1, name="last_conv"), norm(name="last_norm"), act)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.2, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            inputs = self.filters[number if i == 0 else number + 1]
            x = InvertedResidual(
                *self.layers(train),
                features=self.filters[number + 1],
                expanded=EXPANSIONS[number - 1] * inputs,
                kernel_size=KERNEL_SIZES[number - 1],
                strides=STRIDES[number - 1] if i == 0 else 1,
                drop=self.drop_path(depth_rate(self.stochastic_depth, self.stage_sizes, number, i), train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        last = len(self.stage_sizes) + 8
        tops = {"stem_conv": 0, "stem_norm": 1, "last_conv": last, "last_norm": last + 1}
        block, _, inner = layer.partition("/")
        if not inner:
            return f"layers.{tops[block]}" if block in tops else "classifier.1"
        # torchvision counts convolutions, normalizations and activations of one sequence.
        part, kind = inner.split("_")
        place = 3 * ("expand", "depthwise", "project").index(part) + (kind == "norm")
        if block == "separable":
            return f"layers.{place}"
        number, i = split(block)
        return f"layers.{number + 7}.{i}.layers.{place}"

    def timm_name(self, layer: str) -> str:
        layer = layer.replace("separable", "stage0_block1")
        return timm_network_name(layer, lambda stage: stage > 0, first_stage=0)


STAGE_SIZES = (3, 3, 3, 2, 4, 1)
mnasnet0_5 = functools.partial(MNASNet, stage_sizes=STAGE_SIZES, filters=(16, 8, 16, 24, 40, 48, 96, 160))
mnasnet0_75 = functools.partial(MNASNet, stage_sizes=STAGE_SIZES, filters=(24, 16, 24, 32, 64, 72, 144, 240))
mnasnet1_0 = functools.partial(MNASNet, stage_sizes=STAGE_SIZES, filters=(32, 16, 24, 40, 80, 96, 192, 320))
mnasnet1_3 = functools.partial(MNASNet, stage_sizes=STAGE_SIZES, filters=(40, 24, 32, 56, 104, 128, 248, 416))
