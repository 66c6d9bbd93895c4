"""MobileNet v2: depthwise convolutions between a 1x1 convolution to many channels and one to few, with shortcuts
between the narrow ends, for phones.

| name | blocks a stage | channels of the stages | parameters at 1,000 classes |
|---|---|---|---|
| mobilenet_v2 | 1, 2, 3, 4, 3, 3, 1 | 16, 24, 32, 64, 96, 160, 320 | 3,504,872 |

M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks,
arXiv:1801.04381, table 2.
"""

import functools

import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.inverted_residual import InvertedResidual, split, timm_network_name, torch_name
from fcnn.models.resnet import depth_rate
from fcnn.nn import conv_norm_act, global_avg_pool

FILTERS = (32, 16, 24, 32, 64, 96, 160, 320)  # of the first convolution and of the stages
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of a stage's first block


class MobileNetV2(Classifier, kw_only=True):
    """A 3x3 convolution, seven stages of inverted residuals down to 1/32 of the size, a 1x1 convolution, average
    pooling, a dense layer.

    Images of any size. Endpoints: stem, stage1 to stage7, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""
    activation: str = "relu6"

    paper = "Sandler et al. 2018, arXiv:1801.04381"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = conv_norm_act(x, conv(FILTERS[0], 3, 2, 1, name="stem_conv"), norm(name="stem_norm"), act)
        x = endpoint("stem", x)
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(MobileNetV2.stage, x, train, number))
        x = conv_norm_act(x, conv(1280, 1, name="last_conv"), norm(name="last_norm"), act)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.2, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            inputs = FILTERS[number - 1 if i == 0 else number]
            x = InvertedResidual(
                *self.layers(train),
                features=FILTERS[number],
                expanded=6 * inputs if number > 1 else inputs,
                expand=number > 1,
                strides=STRIDES[number - 1] if i == 0 else 1,
                drop=self.drop_path(depth_rate(self.stochastic_depth, self.stage_sizes, number, i), train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        last = sum(self.stage_sizes) + 1
        tops = {"stem_conv": "0.0", "stem_norm": "0.1", "last_conv": f"{last}.0", "last_norm": f"{last}.1"}
        block, _, inner = layer.partition("/")
        if block == "head":
            return "classifier.1"
        if block in tops:
            return f"features.{tops[block]}"
        number, i = split(block)
        inner = torch_name(inner, expand=number > 1, squeeze_excite=False)
        if layer.endswith(("project_conv", "project_norm")):  # these two are no sequence of their own
            part, kind = map(int, inner.split("."))
            inner = str(part + kind)
        return f"features.{sum(self.stage_sizes[: number - 1]) + i + 1}.conv.{inner}"

    def timm_name(self, layer: str) -> str:
        return timm_network_name(layer, lambda stage: stage > 1)


mobilenet_v2 = functools.partial(MobileNetV2, stage_sizes=(1, 2, 3, 4, 3, 3, 1))
