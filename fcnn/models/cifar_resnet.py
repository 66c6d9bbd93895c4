"""The small residual networks for 32x32 images, and the plain ones without shortcuts that they were held against.

| name | parameters at 10 classes and 3 channels, option-A shortcuts |
|---|---|
| resnet20 / 32 / 44 / 56 | 269,722 / 464,154 / 658,586 / 853,018 |
| resnet110 / 1202 | 1,727,962 / 19,421,274 |

plain20 to plain110 have as many: option-A shortcuts have no parameters.

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385, section 4.2.
"""

import functools
from typing import Literal

import jax

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.models.residual import BasicBlock, depth_rate
from fcnn.models.resnet import torch_name
from fcnn.nn import conv_norm_act, global_avg_pool


class CifarResNet(Classifier, kw_only=True):
    """A 3x3 convolution, three stages of residual blocks with 16, 32 and 64 channels at full, half and quarter size,
    average pooling, a dense layer: with n blocks a stage, 6 n + 2 layers.

    Images of any size, 32x32 in the paper. Endpoints: stem, stage1 to stage3, pool.
    """

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    shortcut: Literal["A", "projection", "none"] = "A"
    """Shortcut of blocks that change the shape: zero padding (the paper's choice for these networks) or a 1x1
    convolution. With "none", no block has a shortcut: the paper's plain networks."""
    zero_init: bool = True
    """Initialize the scale of each block's last normalization to zero, so that the block starts as the identity, except
    in blocks that pad channels."""
    stochastic_depth: float = 0.0
    """Stochastic depth: drop rate of the last block's branch, rising linearly from 0 in the first block. Blocks without
    a shortcut are never dropped."""

    paper = "He et al. 2015, arXiv:1512.03385"
    classes = 10
    image_shape = (32, 32, 3)

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = endpoint("stem", conv_norm_act(x, conv(16, 3, 1, 1, name="stem_conv"), norm(name="stem_norm"), act))
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(CifarResNet.stage, x, train, number))
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            rate = depth_rate(self.stochastic_depth, self.stage_sizes, number, i)
            x = BasicBlock(
                *self.layers(train),
                filters=16 * 2 ** (number - 1),
                strides=2 if number > 1 and i == 0 else 1,
                shortcut=self.shortcut,
                zero_init=self.zero_init,
                drop=self.drop_path(rate, train),
                name=f"stage{number}_block{i + 1}",
            )(x)
        return x

    def torch_name(self, layer: str) -> str:
        return torch_name(layer, stem=("conv1", "bn1"), shortcut=("shortcut.0", "shortcut.1"), head="linear")


resnet20 = functools.partial(CifarResNet, stage_sizes=(3, 3, 3))
resnet32 = functools.partial(CifarResNet, stage_sizes=(5, 5, 5))
resnet44 = functools.partial(CifarResNet, stage_sizes=(7, 7, 7))
resnet56 = functools.partial(CifarResNet, stage_sizes=(9, 9, 9))
resnet110 = functools.partial(CifarResNet, stage_sizes=(18, 18, 18))
resnet1202 = functools.partial(CifarResNet, stage_sizes=(200, 200, 200))
plain20 = functools.partial(resnet20, shortcut="none")
plain32 = functools.partial(resnet32, shortcut="none")
plain44 = functools.partial(resnet44, shortcut="none")
plain56 = functools.partial(resnet56, shortcut="none")
plain110 = functools.partial(resnet110, shortcut="none")
