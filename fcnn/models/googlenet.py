"""GoogLeNet, the first Inception network: kernels of several sizes side by side, and heads that help to train it.

| name | parameters at 1,000 classes, without and with the auxiliary heads | |
|---|---|---|
| googlenet | 6,624,904; 13,004,888 | torchvision's: batch norm, 3x3 where the paper has 5x5 |
| googlenet_2014 | 6,998,552; 13,378,280 | the paper's: biases, local response normalization |

C. Szegedy et al.: Going Deeper with Convolutions, arXiv:1409.4842, table 1 and section 5.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import PLUS_MINUS_ONE, Classifier, EndpointFn, flatten
from fcnn.nn import (
    Dropout,
    Layer,
    activation,
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    local_response_norm,
    max_pool,
)

# Table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj.
MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a max pool of the same input, side by side (figure 2b).

    Shapes: (B, H, W, C) -> (B, H, W, sum of the branches).
    """

    conv_norm_act: Layer
    channels: tuple[int, int, int, int, int, int]
    large: int
    """The size of the third branch's kernel: 5, or 3 in torchvision."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one, reduce3, three, reduce5, five, pool = self.channels
        unit = self.conv_norm_act
        branches = [
            unit(one, 1, name="1x1")(x),
            unit(three, 3, padding=1, name="3x3")(unit(reduce3, 1, name="3x3_reduce")(x)),
            unit(five, self.large, padding=self.large // 2, name="5x5")(unit(reduce5, 1, name="5x5_reduce")(x)),
            unit(pool, 1, name="pool_proj")(max_pool(x, 3, stride=1, padding=1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class AuxHead(nn.Module):
    """A classifier half-way up, in training alone: pool to 4x4, 1x1 convolution, two dense layers (section 5)."""

    conv_norm_act: Layer
    act: Callable[[jax.Array], jax.Array]
    dense: Layer
    head: Layer
    dropout: float
    as_published: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        # On 14x14 both give 4x4; torchvision's takes any size.
        x = avg_pool(x, 5, stride=3) if self.as_published else adaptive_avg_pool(x, 4)
        x = self.conv_norm_act(128, 1, name="conv")(x)
        x = self.act(self.dense(1024, name="fc1")(flatten(x)))
        return self.head(name="fc2")(Dropout(self.dropout)(x, train=train))


class GoogLeNet(Classifier, kw_only=True):
    """Three convolutions, nine inception modules, average pooling, a dense layer.

    Endpoints: stem, inception3a to inception5b (before the pools between them), pool.
    """

    as_published: bool = False
    """The paper's layers: 5x5 kernels, local response normalization around the stem's second convolution, a 3x3 pool
    before inception5a where torchvision has 2x2."""
    auxiliary: bool = True
    """Two auxiliary classifiers in training, on inception4a and inception4d, with loss weight 0.3 each."""

    paper = "Szegedy et al. 2014, arXiv:1409.4842"
    aux_heads = ("aux1", "aux2")
    epsilon = 1e-3

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        x = endpoint("stem", self.stem(x, train))
        for name, channels in MODULES.items():
            if name in ("inception4a", "inception5a"):
                window = 3 if self.as_published or name == "inception4a" else 2
                x = max_pool(x, window, stride=2, ceil_mode=True)
            x = endpoint(name, self.checkpointed(GoogLeNet.stage, x, train, name, channels))
            head = {"inception4a": "aux1", "inception4d": "aux2"}.get(name)
            if head and self.auxiliary and self.has_aux(head, train):
                layers = (self.conv_norm_act(train), activation(self.activation), self.dense, self.head)
                dropout = 0.7 if self.dropout is None else self.dropout
                self.aux(head, AuxHead(*layers, dropout, self.as_published, name=head)(x, train), weight=0.3)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.4 if self.as_published else 0.2, train))

    def stage(self, x: jax.Array, train: bool, name: str, channels: tuple) -> jax.Array:
        return Inception(self.conv_norm_act(train), channels, 5 if self.as_published else 3, name=name)(x)

    def stem(self, x: jax.Array, train: bool) -> jax.Array:
        conv_norm_act = self.conv_norm_act(train)

        def lrn(x: jax.Array) -> jax.Array:
            return local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0) if self.as_published else x

        x = conv_norm_act(64, 7, 2, 3, name="conv1")(x)
        x = lrn(max_pool(x, 3, stride=2, ceil_mode=True))
        x = conv_norm_act(64, 1, name="conv2")(x)
        x = lrn(conv_norm_act(192, 3, padding=1, name="conv3")(x))
        return max_pool(x, 3, stride=2, ceil_mode=True)

    def smallest(self, *, train: bool) -> int:
        if not self.as_published:
            return 15
        return 79 if train and self.auxiliary else 31  # the heads' 5x5 pools, the last 3x3 pool

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return super().preprocessing() if self.as_published else PLUS_MINUS_ONE

    def torch_name(self, layer: str) -> str:
        branches = {
            "1x1": "branch1",
            "3x3_reduce": "branch2.0",
            "3x3": "branch2.1",
            "5x5_reduce": "branch3.0",
            "5x5": "branch3.1",
            "pool_proj": "branch4.1",
        }
        parts = [branches.get(part, {"norm": "bn", "head": "fc"}.get(part, part)) for part in layer.split("/")]
        return ".".join(parts)


googlenet = GoogLeNet
googlenet_2014 = functools.partial(GoogLeNet, as_published=True, norm="none")
