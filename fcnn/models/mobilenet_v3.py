"""MobileNet v3: v2's blocks in an order that was searched for, with squeeze-and-excitation, an activation that is cheap
and smooth, and a head behind the pooling.

| name | blocks a stage | channels of the stages | parameters at 1,000 classes |
|---|---|---|---|
| mobilenet_v3_small | 1, 2, 3, 2, 3 | 16, 24, 40, 48, 96 | 2,542,856 |
| mobilenet_v3_large | 1, 2, 3, 4, 2, 3 | 16, 24, 40, 80, 112, 160 | 5,483,032 |

A. Howard, M. Sandler, G. Chu, L.-C. Chen, B. Chen, M. Tan, W. Wang, Y. Zhu, R. Pang, V. Vasudevan, Q. V. Le, H. Adam:
Searching for MobileNetV3, arXiv:1905.02244, tables 1 and 2.
"""

import functools
from typing import Literal

import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.inverted_residual import InvertedResidual, divisible, split, timm_name, torch_name
from fcnn.models.resnet import depth_rate
from fcnn.nn import SqueezeExcite, conv_norm_act, global_avg_pool
from fcnn.nn.geometry import Padding


class MobileNetV3(Classifier, kw_only=True):
    """A 3x3 convolution, stages of inverted residuals down to 1/32 of the size, a 1x1 convolution, average pooling, a
    hidden dense layer, another one.

    Images of any size. Endpoints: stem, stage1 to stage5 (small) or stage6 (large), pool, hidden.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    filters: tuple[int, ...]
    """Channels of the stages."""
    expanded: tuple[tuple[int, ...], ...]
    """Channels of the depthwise convolutions, of each stage's blocks; further blocks have as many as the last one."""
    kernel_sizes: tuple[int, ...]
    """Of the depthwise convolutions of a stage."""
    strides: tuple[int, ...]
    """Of the first block of a stage."""
    squeezed: tuple[int, ...]
    """The stages, from 1 on, with squeeze-and-excitation."""
    relu_stages: int
    """So many stages have ReLU, as the gates do; the rest of the network has `activation`."""
    hidden: int
    """Width of the hidden dense layer."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""
    padding: Literal["torch", "SAME"] = "torch"
    """Padding of the convolutions: half a kernel on every side (torch), or TensorFlow's (SAME), which with stride 2 is
    less at the top and left."""
    epsilon: float = 1e-3
    """Epsilon of the normalization: 1e-5 for weights trained with timm."""
    activation: str = "hard_swish"

    paper = "Howard et al. 2019, arXiv:1905.02244"
    momentum = 0.99

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = conv_norm_act(x, conv(16, 3, 2, self.pad(3), name="stem_conv"), norm(name="stem_norm"), act)
        x = endpoint("stem", x)
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(MobileNetV3.stage, x, train, number))
        x = conv_norm_act(x, conv(6 * self.filters[-1], 1, name="last_conv"), norm(name="last_norm"), act)
        x = endpoint("pool", global_avg_pool(x))
        x = endpoint("hidden", act(self.dense(self.hidden, name="hidden")(x)))
        return self.head(name="head")(self.drop(x, 0.2, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        conv, norm, act = self.layers(train)
        act = jax.nn.relu if number <= self.relu_stages else act
        kernel_size = self.kernel_sizes[number - 1]
        for i in range(self.stage_sizes[number - 1]):
            expanded = self.channels(number, i)
            squeeze = functools.partial(
                SqueezeExcite, conv, jax.nn.relu, reduced=divisible(expanded // 4), gate=jax.nn.hard_sigmoid
            )
            x = InvertedResidual(
                conv,
                norm,
                act,
                self.filters[number - 1],
                expanded,
                kernel_size,
                self.strides[number - 1] if i == 0 else 1,
                expand=self.expands(number, i),
                padding=self.pad(kernel_size),
                squeeze_excite=squeeze if number in self.squeezed else None,
                drop=self.drop_path(depth_rate(self.stochastic_depth, self.stage_sizes, number, i), train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def channels(self, number: int, i: int) -> int:
        """Returns the channels of the depthwise convolution of block i, from 0 on, of a stage."""
        expanded = self.expanded[number - 1]
        return expanded[min(i, len(expanded) - 1)]

    def expands(self, number: int, i: int) -> bool:
        """Whether block i of a stage has more channels inside than its input."""
        inputs = (16, *self.filters)[number - 1 if i == 0 else number]
        return self.channels(number, i) != inputs

    def pad(self, kernel_size: int) -> Padding:
        """Returns the padding of a convolution."""
        return kernel_size // 2 if self.padding == "torch" else "SAME"

    def torch_name(self, layer: str) -> str:
        last = sum(self.stage_sizes) + 1
        tops = {"stem_conv": "0.0", "stem_norm": "0.1", "last_conv": f"{last}.0", "last_norm": f"{last}.1"}
        block, _, inner = layer.partition("/")
        if block in tops:
            return f"features.{tops[block]}"
        if not inner:
            return {"hidden": "classifier.0", "head": "classifier.3"}[block]
        number, i = split(block)
        inner = torch_name(inner, expand=self.expands(number, i), squeeze_excite=number in self.squeezed)
        return f"features.{sum(self.stage_sizes[: number - 1]) + i + 1}.block.{inner}"

    def timm_name(self, layer: str) -> str:
        last = f"blocks.{len(self.stage_sizes)}.0"
        tops = {"stem_conv": "conv_stem", "stem_norm": "bn1", "last_conv": f"{last}.conv", "last_norm": f"{last}.bn1"}
        block, _, inner = layer.partition("/")
        if not inner:
            return (tops | {"hidden": "conv_head", "head": "classifier"})[block]
        number, i = split(block)
        return f"blocks.{number - 1}.{i}.{timm_name(inner, expand=self.expands(number, i))}"


mobilenet_v3_small = functools.partial(
    MobileNetV3,
    stage_sizes=(1, 2, 3, 2, 3),
    filters=(16, 24, 40, 48, 96),
    expanded=((16,), (72, 88), (96, 240, 240), (120, 144), (288, 576, 576)),
    kernel_sizes=(3, 3, 5, 5, 5),
    strides=(2, 2, 2, 1, 2),
    squeezed=(1, 3, 4, 5),
    relu_stages=2,
    hidden=1024,
)
mobilenet_v3_large = functools.partial(
    MobileNetV3,
    stage_sizes=(1, 2, 3, 4, 2, 3),
    filters=(16, 24, 40, 80, 112, 160),
    expanded=((16,), (64, 72), (72, 120, 120), (240, 200, 184, 184), (480, 672), (672, 960, 960)),
    kernel_sizes=(3, 3, 5, 3, 3, 5),
    strides=(1, 2, 2, 2, 1, 2),
    squeezed=(3, 5, 6),
    relu_stages=3,
    hidden=1280,
)
