"""DenseNet, as somebody would add it: this file, and a line in `fcnn/registry.py`.

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger: Densely Connected Convolutional Networks, arXiv:1608.06993.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import Layer, avg_pool, conv_norm_act, global_avg_pool, max_pool, norm_act


class DenseLayer(nn.Module):
    """Normalization, activation and a convolution, of 1x1 and 3x3, whose output is appended to the input."""

    conv: Layer
    norm: Layer
    act: Layer
    growth: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = norm_act(x, self.norm(name="norm1"), self.act)
        y = conv_norm_act(y, self.conv(4 * self.growth, 1, name="conv1"), self.norm(name="norm2"), self.act)
        y = self.conv(self.growth, 3, padding=1, name="conv2")(y)
        return jnp.concatenate([x, y], axis=-1)


class DenseNet(Classifier, kw_only=True):
    """A convolution and a max pool, four dense blocks with transitions between them, average pooling, a dense layer."""

    stage_sizes: tuple[int, ...]
    """Layers a block."""
    growth: int = 32
    """Channels that a layer appends."""

    paper = "Huang et al. 2016, arXiv:1608.06993"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv, norm, act = self.layers(train)
        x = conv_norm_act(x, conv(2 * self.growth, 7, 2, 3, name="conv0"), norm(name="norm0"), act)
        x = endpoint("stem", max_pool(x, 3, stride=2, padding=1))
        channels = 2 * self.growth
        for number, layers in enumerate(self.stage_sizes, start=1):
            x = endpoint(f"stage{number}", self.checkpointed(DenseNet.stage, x, train, number))
            if number < len(self.stage_sizes):
                channels = (channels + layers * self.growth) // 2
                x = norm_act(x, norm(name=f"transition{number}_norm"), act)
                x = avg_pool(conv(channels, 1, name=f"transition{number}_conv")(x), 2)
        x = norm_act(x, norm(name="norm5"), act)
        return self.head(name="head")(self.drop(endpoint("pool", global_avg_pool(x)), 0.0, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        for i in range(self.stage_sizes[number - 1]):
            x = DenseLayer(*self.layers(train), self.growth, name=f"stage{number}_layer{i + 1}")(x)
        return x

    def smallest(self, *, train: bool) -> int:
        return 29

    def torch_name(self, layer: str) -> str:
        if layer == "head":
            return "classifier"
        name = layer.replace("stage", "denseblock").replace("_layer", ".denselayer").replace("_", ".")
        return "features." + name.replace("/", ".")


densenet121 = functools.partial(DenseNet, stage_sizes=(6, 12, 24, 16))
