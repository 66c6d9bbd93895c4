"""Inception v3: large kernels taken apart into 1 x n and n x 1, and sizes reduced without a bottleneck.

| name | parameters at 1,000 classes, without and with the auxiliary head |
|---|---|
| inception_v3 | 23,834,568; 27,161,264 |

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna: Rethinking the Inception Architecture for Computer Vision,
arXiv:1512.00567; layer by layer as torchvision has it, whose weights are TensorFlow's.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.models.classifier import PLUS_MINUS_ONE, Classifier, EndpointFn
from fcnn.nn import Layer, avg_pool, global_avg_pool, max_pool

# A chain of units: (name, channels, kernel, stride, padding) each.
Chain = tuple[tuple[Any, ...], ...]


class Module(nn.Module):
    """Chains of convolutions and a pool of the same input, side by side."""

    conv_norm_act: Layer
    chains: tuple[Chain, ...]
    pool: int
    """Channels of the 1x1 convolution behind an average pool; 0 for a max pool of stride 2 without one."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branches = []
        for chain in self.chains:
            y = x
            for name, *shape in chain:
                if name.endswith("ab"):  # 1x3 and 3x1 side by side (figure 7)
                    row = self.conv_norm_act(shape[0], (1, 3), 1, (0, 1), name=name[:-1])(y)
                    column = self.conv_norm_act(shape[0], (3, 1), 1, (1, 0), name=name[:-2] + "b")(y)
                    y = jnp.concatenate([row, column], axis=-1)
                else:
                    y = self.conv_norm_act(*shape, name=name)(y)
            branches.append(y)
        if self.pool:
            pooled = avg_pool(x, 3, stride=1, padding=1)
            branches.append(self.conv_norm_act(self.pool, 1, name="branch_pool")(pooled))
        else:
            branches.append(max_pool(x, 3, stride=2))
        return jnp.concatenate(branches, axis=-1)


def module_5(pool: int) -> tuple[tuple[Chain, ...], int]:
    """1x1, 5x5 and two 3x3 (figure 5), at 35x35."""
    return (
        (("branch1x1", 64, 1),),
        (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5, 1, 2)),
        (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3, 1, 1), ("branch3x3dbl_3", 96, 3, 1, 1)),
    ), pool


def module_6(width: int) -> tuple[tuple[Chain, ...], int]:
    """7x7 taken apart into 1x7 and 7x1 (figure 6), at 17x17."""
    row, column = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
    return (
        (("branch1x1", 192, 1),),
        (("branch7x7_1", width, 1), ("branch7x7_2", width, *row), ("branch7x7_3", 192, *column)),
        (
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, *column),
            ("branch7x7dbl_3", width, *row),
            ("branch7x7dbl_4", width, *column),
            ("branch7x7dbl_5", 192, *row),
        ),
    ), 192


MODULE_7: tuple[tuple[Chain, ...], int] = (
    (
        (("branch1x1", 320, 1),),
        (("branch3x3_1", 384, 1), ("branch3x3_2ab", 384)),
        (("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3, 1, 1), ("branch3x3dbl_3ab", 384)),
    ),
    192,
)

MODULES: dict[str, tuple[tuple[Chain, ...], int]] = {
    "mixed_5b": module_5(32),
    "mixed_5c": module_5(64),
    "mixed_5d": module_5(64),
    # 35x35 to 17x17 (figure 10)
    "mixed_6a": (
        (
            (("branch3x3", 384, 3, 2),),
            (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3, 1, 1), ("branch3x3dbl_3", 96, 3, 2)),
        ),
        0,
    ),
    "mixed_6b": module_6(128),
    "mixed_6c": module_6(160),
    "mixed_6d": module_6(160),
    "mixed_6e": module_6(192),
    # 17x17 to 8x8
    "mixed_7a": (
        (
            (("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)),
            (
                ("branch7x7x3_1", 192, 1),
                ("branch7x7x3_2", 192, (1, 7), 1, (0, 3)),
                ("branch7x7x3_3", 192, (7, 1), 1, (3, 0)),
                ("branch7x7x3_4", 192, 3, 2),
            ),
        ),
        0,
    ),
    "mixed_7b": MODULE_7,
    "mixed_7c": MODULE_7,
}

# Name, channels, kernel, stride, padding.
STEM: Chain = (
    ("conv1a", 32, 3, 2),
    ("conv2a", 32, 3),
    ("conv2b", 64, 3, 1, 1),
    ("conv3b", 80, 1),
    ("conv4a", 192, 3),
)


class AuxHead(nn.Module):
    """A classifier on the last 17x17 module, in training alone (figure 8)."""

    conv_norm_act: Layer
    head: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv_norm_act(128, 1, name="conv0")(avg_pool(x, 5, stride=3))
        x = self.conv_norm_act(768, 5, name="conv1")(x)
        return self.head(name="fc")(global_avg_pool(x))


class InceptionV3(Classifier, kw_only=True):
    """Five convolutions, eleven inception modules, average pooling, a dense layer; 299x299 in the paper.

    Endpoints: stem, mixed_5b to mixed_7c, pool.
    """

    auxiliary: bool = True
    """One more classifier in training, on mixed_6e; its loss counts 0.4 times."""

    paper = "Szegedy et al. 2015, arXiv:1512.00567"
    image_shape = (299, 299, 3)
    aux_heads = ("aux",)
    epsilon = 1e-3

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv_norm_act = self.conv_norm_act(train)
        for name, *shape in STEM:
            x = conv_norm_act(*shape, name=name)(x)
            if name in ("conv2b", "conv4a"):
                x = max_pool(x, 3, stride=2)
        x = endpoint("stem", x)
        for name, (chains, pool) in MODULES.items():
            x = endpoint(name, self.checkpointed(InceptionV3.stage, x, train, name, chains, pool))
            if name == "mixed_6e" and self.auxiliary and self.has_aux("aux", train):
                self.aux("aux", AuxHead(conv_norm_act, self.head, name="aux")(x), weight=0.4)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.5, train))

    def stage(self, x: jax.Array, train: bool, name: str, chains: tuple[Chain, ...], pool: int) -> jax.Array:
        return Module(self.conv_norm_act(train), chains, pool, name=name)(x)

    def smallest(self, *, train: bool) -> int:
        # The auxiliary head's 5x5 convolution behind a pool of stride 3 needs 17x17.
        return 299 if train and self.auxiliary else 75

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return PLUS_MINUS_ONE

    def torch_name(self, layer: str) -> str:
        stem = {"conv1a": "1a_3x3", "conv2a": "2a_3x3", "conv2b": "2b_3x3", "conv3b": "3b_1x1", "conv4a": "4a_3x3"}
        first, *rest = layer.split("/")
        tops = {"aux": "AuxLogits", "head": "fc"} | {name: f"Conv2d_{place}" for name, place in stem.items()}
        return ".".join([tops.get(first, first.replace("mixed", "Mixed")), *rest]).replace(".norm", ".bn")


inception_v3 = InceptionV3
