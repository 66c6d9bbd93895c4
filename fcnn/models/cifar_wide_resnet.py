"""Wide residual networks for 32x32 images: a few blocks with many channels, faster and better than many with few.

| name | blocks a stage | channels, times | parameters at 10 classes | errors on CIFAR-10, CIFAR-100 |
|---|---|---|---|---|
| wrn_40_4 | 6 | 4 | 8,949,210 | 4.53 %, 21.18 % |
| wrn_16_8 | 2 | 8 | 10,961,370 | 4.27 %, 20.43 % |
| wrn_28_10 | 4 | 10 | 36,479,194 | 4.00 %, 19.25 %; with dropout of 0.3 in the blocks 3.89 %, 18.85 % |

S. Zagoruyko, N. Komodakis: Wide Residual Networks, arXiv:1605.07146, section 2; errors of table 5 and 6, without
dropout if not said otherwise.
"""

import functools

import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.preact_resnet import PreActBasicBlock
from fcnn.models.residual import depth_rate
from fcnn.nn import global_avg_pool, norm_act


class WideBlock(PreActBasicBlock):
    """A pre-activation block whose shortcut, where it changes the shape, goes through a 1x1 convolution.

    Shapes: (B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), filters).
    """

    def reshape(self, shortcut: jax.Array, channels: int) -> jax.Array:
        return self.conv(self.filters, 1, self.strides, name="shortcut_conv")(shortcut)


class CifarWideResNet(Classifier, kw_only=True):
    """A 3x3 convolution, three stages of wide blocks at full, half and quarter size, normalization, activation, average
    pooling, a dense layer: with n blocks a stage, 6 n + 4 layers.

    `dropout` is that between a block's convolutions, behind the activation (section 2.4); there is no other.
    Images of any size, 32x32 in the paper. Endpoints: stem, stage1 to stage3, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    widening: int
    """Multiplies the 16, 32 and 64 channels of the stages, not the stem's 16."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block."""

    paper = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"
    classes = 10
    image_shape = (32, 32, 3)

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = endpoint("stem", conv(16, 3, 1, 1, name="stem_conv")(x))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(CifarWideResNet.stage, x, train, number))
        x = norm_act(x, norm(name="last_norm"), act)
        return self.head(name="head")(endpoint("pool", global_avg_pool(x)))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            name = f"stage{number}_block{i + 1}"
            x = WideBlock(
                *self.layers(train),
                filters=16 * self.widening * 2 ** (number - 1),
                strides=2 if number > 1 and i == 0 else 1,
                dropout=functools.partial(self.drop, rate=0.0, train=train, before=name),
                drop=self.drop_path(depth_rate(self.stochastic_depth, self.stage_sizes, number, i), train),
                name=name,
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        # Those of github.com/xternalz/WideResNet-pytorch.
        tops = {"stem_conv": "conv1", "last_norm": "bn1", "head": "fc"}
        block, _, inner = layer.partition("/")
        if block in tops:
            return tops[block]
        stage, i = block.removeprefix("stage").split("_block")
        inner = "convShortcut" if inner == "shortcut_conv" else inner.replace("norm", "bn")
        return f"block{stage}.layer.{int(i) - 1}.{inner}"


wrn_40_4 = functools.partial(CifarWideResNet, stage_sizes=(6, 6, 6), widening=4)
wrn_16_8 = functools.partial(CifarWideResNet, stage_sizes=(2, 2, 2), widening=8)
wrn_28_10 = functools.partial(CifarWideResNet, stage_sizes=(4, 4, 4), widening=10)
