"""Inception v2, or BN-Inception: the network with which batch normalization was introduced.

| name | parameters at 1,000 classes |
|---|---|
| inception_v2 | 11,295,240 |

Each 5x5 convolution of GoogLeNet is two of 3x3, which see the same 5x5 pixels with 28 % fewer weights.

S. Ioffe, C. Szegedy: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift,
arXiv:1502.03167, appendix, figure 5; layer by layer as in the Caffe model that Cadene's pretrained-models.pytorch has.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import Layer, avg_pool, global_avg_pool, max_pool

# 1x1; 3x3 reduce, 3x3; double 3x3 reduce, double 3x3; pool proj. Without 1x1, the module halves the size.
MODULES = {
    "inception3a": (64, 64, 64, 64, 96, 32),
    "inception3b": (64, 64, 96, 64, 96, 64),
    "inception3c": (0, 128, 160, 64, 96, 0),
    "inception4a": (224, 64, 96, 96, 128, 128),
    "inception4b": (192, 96, 128, 96, 128, 128),
    "inception4c": (160, 128, 160, 128, 160, 128),
    "inception4d": (96, 128, 192, 160, 192, 128),
    "inception4e": (0, 128, 192, 192, 256, 0),
    "inception5a": (352, 192, 320, 160, 224, 128),
    "inception5b": (352, 192, 320, 192, 224, 128),
}


class Inception(nn.Module):
    """A 1x1, a 3x3, two 3x3 after one another, and a pool of the same input, side by side (figure 5).

    Shapes: (B, H, W, C) -> (B, H, W, sum of the branches), with half of H and W (rounded up) if there is no 1x1.
    """

    conv_norm_act: Layer
    channels: tuple[int, int, int, int, int, int]
    max_pool: bool
    """Where the size stays: the pool takes the maximum, not the mean."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one, reduce3, three, reduce, double, pool = self.channels
        stride = 1 if one else 2

        def unit(x: jax.Array, name: str, *shape: int) -> jax.Array:
            return self.conv_norm_act(*shape, name=name)(x)

        branches = [unit(x, "1x1", one, 1)] if one else []
        y = unit(x, "3x3_reduce", reduce3, 1)
        branches.append(unit(y, "3x3", three, 3, stride, 1))
        y = unit(x, "double_3x3_reduce", reduce, 1)
        y = unit(y, "double_3x3_1", double, 3, 1, 1)
        branches.append(unit(y, "double_3x3_2", double, 3, stride, 1))
        if one:
            pooled = max_pool(x, 3, stride=1, padding=1) if self.max_pool else avg_pool(x, 3, stride=1, padding=1)
            branches.append(unit(pooled, "pool_proj", pool, 1))
        else:
            # Windows that start at the first pixel, as the reference has them, where they give the convolutions' size;
            # on odd sizes those that lie where the convolutions' do.
            odd = [(size % 2, size % 2) for size in x.shape[1:3]]
            branches.append(max_pool(x, 3, stride=2, padding=odd, ceil_mode=True))
        return jnp.concatenate(branches, axis=-1)


class InceptionV2(Classifier, kw_only=True):
    """Three convolutions, ten inception modules, average pooling, a dense layer.

    Endpoints: stem, inception3a to inception5b, pool.
    """

    conv_bias = True
    paper = "Ioffe & Szegedy 2015, arXiv:1502.03167"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv_norm_act = self.conv_norm_act(train)
        x = conv_norm_act(64, 7, 2, 3, name="conv1")(x)
        x = max_pool(x, 3, stride=2, ceil_mode=True)
        x = conv_norm_act(64, 1, name="conv2_reduce")(x)
        x = conv_norm_act(192, 3, padding=1, name="conv2")(x)
        x = endpoint("stem", max_pool(x, 3, stride=2, ceil_mode=True))
        for name, channels in MODULES.items():
            x = endpoint(name, self.checkpointed(InceptionV2.stage, x, train, name, channels))
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.0, train))

    def stage(self, x: jax.Array, train: bool, name: str, channels: tuple) -> jax.Array:
        return Inception(self.conv_norm_act(train), channels, max_pool=name == "inception5b", name=name)(x)

    def smallest(self, *, train: bool) -> int:
        return 7

    def torch_name(self, layer: str) -> str:
        if layer == "head":
            return "last_linear"
        stem = {"conv1": "conv1_7x7_s2", "conv2_reduce": "conv2_3x3_reduce", "conv2": "conv2_3x3"}
        *path, part = layer.split("/")
        name = stem.get(path[0], path[0].replace("inception", "inception_"))
        return "_".join([name, *path[1:]]) + ("_bn" if part == "norm" else "")


inception_v2 = InceptionV2
