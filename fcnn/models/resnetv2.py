"""BiT, "Big Transfer": pre-activation ResNets with group norm and standardized weights, made for fine-tuning.

| name | blocks a stage | parameters at 1,000 classes |
|---|---|---|
| resnetv2_50x1_bit | 3, 4, 6, 3, of 1x1, 3x3 and 1x1 | 25,549,352 |
| resnetv2_101x1_bit | 3, 4, 23, 3 | 44,541,480 |

Group norm doesn't depend on the batch, which may be small and of other images than those of pre-training; it trains as
well as batch norm does where every kernel is used with mean 0 and variance 1.

A. Kolesnikov, L. Beyer, X. Zhai, J. Puigcerver, J. Yung, S. Gelly, N. Houlsby: Big Transfer (BiT): General Visual
Representation Learning, arXiv:1912.11370, section 3.1.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import PLUS_MINUS_ONE, Classifier, EndpointFn, Norm
from fcnn.models.preact_resnet import PreActBottleneck
from fcnn.models.residual import depth_rate
from fcnn.nn import Layer, global_avg_pool, max_pool, norm_act, standardized_conv_general_dilated


class ResNetV2(Classifier, kw_only=True):
    """A convolution and a max pool, four stages of pre-activation bottlenecks at 1/4, 1/8, 1/16 and 1/32 of the size,
    normalization, activation, average pooling, a dense layer; all convolutions with standardized weights.

    Images of any size. Endpoints: stem, stage1 to stage4, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""
    norm: Norm = "group"

    conv_head = True
    paper = "Kolesnikov et al. 2019, arXiv:1912.11370"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = conv(64, 7, 2, 3, name="stem_conv")(x)
        # Zeros around it, as in the authors' code, are larger than some entries: no activation stands before the pool.
        x = endpoint("stem", max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, stride=2))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(ResNetV2.stage, x, train, number))
        x = endpoint("pool", global_avg_pool(norm_act(x, norm(name="last_norm"), act)))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            x = PreActBottleneck(
                *self.layers(train),
                filters=64 * 2 ** (number - 1),
                strides=2 if number > 1 and i == 0 else 1,
                drop=self.drop_path(depth_rate(self.stochastic_depth, self.stage_sizes, number, i), train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    @nn.nowrap
    def layers(self, train: bool) -> tuple[Layer, Layer, Callable[[jax.Array], jax.Array]]:
        conv, norm, act = super().layers(train)
        return functools.partial(conv, conv_general_dilated=standardized_conv_general_dilated), norm, act

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return PLUS_MINUS_ONE

    def torch_name(self, layer: str) -> str:
        # timm's.
        tops = {"stem_conv": "stem.conv", "last_norm": "norm", "head": "head.fc"}
        block, _, inner = layer.partition("/")
        if block in tops:
            return tops[block]
        stage, i = block.removeprefix("stage").split("_block")
        inner = "downsample.conv" if inner == "shortcut_conv" else inner
        return f"stages.{int(stage) - 1}.blocks.{int(i) - 1}.{inner}"


resnetv2_50x1_bit = functools.partial(ResNetV2, stage_sizes=(3, 4, 6, 3))
resnetv2_101x1_bit = functools.partial(ResNetV2, stage_sizes=(3, 4, 23, 3))
