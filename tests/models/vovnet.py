"""VoVNet, as somebody would add it: this file, and a line in `fcnn/registry.py`.

Y. Lee, J. Hwang, S. Lee, Y. Bae, J. Park: An Energy and GPU-Computation Efficient Backbone Network for Real-Time Object
Detection, arXiv:1904.09730, table 2, where the blocks' names are from.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import Layer, global_avg_pool, max_pool


class OneShotAggregation(nn.Module):
    """3x3 convolutions one after another, whose outputs and whose input a 1x1 convolution reads all at once."""

    conv_norm_act: Layer
    layers: int
    channels: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        outputs = [x]
        for i in range(self.layers):
            outputs.append(self.conv_norm_act(self.channels, 3, padding=1, name=f"mid{i}")(outputs[-1]))
        return self.conv_norm_act(self.features, 1, name="concat")(jnp.concatenate(outputs, axis=-1))


class VoVNet(Classifier, kw_only=True):
    """Three convolutions, four stages with max pools between them, average pooling, a dense layer."""

    stage_sizes: tuple[int, ...]
    """Blocks a stage."""
    layers_per_block: int = 5
    """3x3 convolutions a block."""

    paper = "Lee et al. 2019, arXiv:1904.09730"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        for i, (channels, strides) in enumerate(((64, 2), (64, 1), (128, 2))):
            x = self.conv_norm_act(train)(channels, 3, strides, 1, name=f"stem{i}")(x)
        x = endpoint("stem", x)
        for number in range(1, len(self.stage_sizes) + 1):
            x = endpoint(f"stage{number}", self.checkpointed(VoVNet.stage, x, train, number))
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        x = max_pool(x, 3, stride=2, ceil_mode=True) if number > 1 else x
        conv_norm_act, channels = self.conv_norm_act(train), (128, 160, 192, 224)[number - 1]
        for i in range(1, self.stage_sizes[number - 1] + 1):
            name = f"osa{number + 1}_{i}"
            x = OneShotAggregation(conv_norm_act, self.layers_per_block, channels, 256 * number, name=name)(x)
        return x

    def smallest(self, *, train: bool) -> int:
        return 29

    def torch_name(self, layer: str) -> str:
        if layer == "head":
            return "head.fc"
        block, _, inner = layer.replace("norm", "bn").replace("mid", "conv_mid.").partition("/")
        if block.startswith("stem"):
            return f"stem.{block[4:]}.{inner}"
        stage, i = block.removeprefix("osa").split("_")
        inner = inner.replace("concat", "conv_concat").replace("/", ".")
        return f"stages.{int(stage) - 2}.blocks.{int(i) - 1}.{inner}"


vovnet39a = functools.partial(VoVNet, stage_sizes=(1, 1, 2, 2))
