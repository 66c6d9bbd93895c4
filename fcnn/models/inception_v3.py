"""Inception v3: large kernels taken apart into 1 x n and n x 1, and sizes reduced without a bottleneck.

| name | parameters at 1,000 classes, without and with the auxiliary head |
|---|---|
| inception_v3 | 23,834,568; 27,161,264 |

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna: Rethinking the Inception Architecture for Computer Vision,
arXiv:1512.00567; layer by layer as torchvision has it, whose weights are TensorFlow's.
"""

import flax.linen as nn
import jax

from fcnn.models.classifier import PLUS_MINUS_ONE, Classifier, EndpointFn
from fcnn.models.inception import COLUMN, ROW, Chain, Chains, Inception
from fcnn.nn import Layer, avg_pool, global_avg_pool, max_pool


def module_5(pooled: int) -> Chains:
    """1x1, 5x5 and two 3x3 (figure 5), at 35x35."""
    return (
        (("branch1x1", 64, 1),),
        (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5, 1, 2)),
        (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3, 1, 1), ("branch3x3dbl_3", 96, 3, 1, 1)),
        (("avg_pool",), ("branch_pool", pooled, 1)),
    )


def module_6(width: int) -> Chains:
    """7x7 taken apart into 1x7 and 7x1 (figure 6), at 17x17."""
    return (
        (("branch1x1", 192, 1),),
        (("branch7x7_1", width, 1), ("branch7x7_2", width, *ROW), ("branch7x7_3", 192, *COLUMN)),
        (
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, *COLUMN),
            ("branch7x7dbl_3", width, *ROW),
            ("branch7x7dbl_4", width, *COLUMN),
            ("branch7x7dbl_5", 192, *ROW),
        ),
        (("avg_pool",), ("branch_pool", 192, 1)),
    )


MODULE_7: Chains = (
    (("branch1x1", 320, 1),),
    (("branch3x3_1", 384, 1), ("branch3x3_2ab", 384)),
    (("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3, 1, 1), ("branch3x3dbl_3ab", 384)),
    (("avg_pool",), ("branch_pool", 192, 1)),
)

MODULES: dict[str, Chains] = {
    "mixed_5b": module_5(32),
    "mixed_5c": module_5(64),
    "mixed_5d": module_5(64),
    # 35x35 to 17x17 (figure 10)
    "mixed_6a": (
        (("branch3x3", 384, 3, 2),),
        (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3, 1, 1), ("branch3x3dbl_3", 96, 3, 2)),
        (("max_pool",),),
    ),
    "mixed_6b": module_6(128),
    "mixed_6c": module_6(160),
    "mixed_6d": module_6(160),
    "mixed_6e": module_6(192),
    # 17x17 to 8x8
    "mixed_7a": (
        (("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)),
        (
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, *ROW),
            ("branch7x7x3_3", 192, *COLUMN),
            ("branch7x7x3_4", 192, 3, 2),
        ),
        (("max_pool",),),
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
    """Auxiliary classifier in training, on mixed_6e, with loss weight 0.4."""

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
        for name in MODULES:
            x = endpoint(name, self.checkpointed(InceptionV3.stage, x, train, name))
            if name == "mixed_6e" and self.auxiliary and self.has_aux("aux", train):
                self.aux("aux", AuxHead(conv_norm_act, self.head, name="aux")(x), weight=0.4)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.5, train))

    def stage(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        return Inception(self.conv_norm_act(train), MODULES[name], padded_mean=True, name=name)(x)

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
