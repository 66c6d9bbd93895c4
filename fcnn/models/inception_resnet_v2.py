"""Inception-ResNet v2: inception modules as the branches of residual blocks, scaled down so that training is stable.

| name | parameters at 1,000 classes |
|---|---|
| inception_resnet_v2 | 55,843,464 |

C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning, arXiv:1602.07261, section 3.2 and figures 15 to 18; layer by layer as timm has it, whose weights are
TensorFlow's.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax

from fcnn.models.classifier import PLUS_MINUS_ONE, Classifier, EndpointFn
from fcnn.models.inception import COLUMN, ROW, Chain, Chains, Inception, side_by_side
from fcnn.nn import Conv, Layer, global_avg_pool, max_pool

# Name, channels, kernel, stride, padding; a max pool follows the third and the last.
STEM: Chain = (
    ("conv1a", 32, 3, 2),
    ("conv2a", 32, 3),
    ("conv2b", 64, 3, 1, 1),
    ("conv3b", 80, 1),
    ("conv4a", 192, 3),
)

# The module in front of each stage.
ENTRIES: dict[str, Chains] = {
    "mixed_5b": (
        (("branch0", 96, 1),),
        (("branch1_0", 48, 1), ("branch1_1", 64, 5, 1, 2)),
        (("branch2_0", 64, 1), ("branch2_1", 96, 3, 1, 1), ("branch2_2", 96, 3, 1, 1)),
        (("avg_pool",), ("branch3_1", 64, 1)),
    ),
    "mixed_6a": (
        (("branch0", 384, 3, 2),),
        (("branch1_0", 256, 1), ("branch1_1", 256, 3, 1, 1), ("branch1_2", 384, 3, 2)),
        (("max_pool",),),
    ),
    "mixed_7a": (
        (("branch0_0", 256, 1), ("branch0_1", 384, 3, 2)),
        (("branch1_0", 256, 1), ("branch1_1", 288, 3, 2)),
        (("branch2_0", 256, 1), ("branch2_1", 288, 3, 1, 1), ("branch2_2", 320, 3, 2)),
        (("max_pool",),),
    ),
}

# The branches of each stage's blocks, at 35x35, 17x17 and 8x8 (figures 16, 17 and 19).
BLOCKS: tuple[Chains, ...] = (
    (
        (("branch0", 32, 1),),
        (("branch1_0", 32, 1), ("branch1_1", 32, 3, 1, 1)),
        (("branch2_0", 32, 1), ("branch2_1", 48, 3, 1, 1), ("branch2_2", 64, 3, 1, 1)),
    ),
    ((("branch0", 192, 1),), (("branch1_0", 128, 1), ("branch1_1", 160, *ROW), ("branch1_2", 192, *COLUMN))),
    (
        (("branch0", 192, 1),),
        (("branch1_0", 192, 1), ("branch1_1", 224, (1, 3), 1, (0, 1)), ("branch1_2", 256, (3, 1), 1, (1, 0))),
    ),
)
SCALES = (0.17, 0.1, 0.2)


class ResidualInception(nn.Module):
    """Chains side by side and a 1x1 convolution to the input's channels, whose result is scaled and added to the input.

    Fields:
      project: makes the 1x1 convolution, which has a bias and no normalization.
      act: behind the addition; None for none.

    Shapes: (B, H, W, C) -> the same.
    """

    conv_norm_act: Layer
    project: Layer
    act: Callable[[jax.Array], jax.Array] | None
    chains: Chains
    scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = side_by_side(x, self.chains, self.conv_norm_act)
        x = x + self.scale * self.project(x.shape[-1], 1, name="project")(y)
        return x if self.act is None else self.act(x)


class InceptionResNetV2(Classifier, kw_only=True):
    """Five convolutions, three stages of residual inception modules with an inception module before each, a 1x1
    convolution, average pooling, a dense layer; 299x299 in the paper.

    The last block is neither scaled nor followed by an activation. Endpoints: stem, stage1 to stage3, pool.
    """

    stage_sizes: tuple[int, int, int]
    """Residual modules a stage."""

    paper = "Szegedy et al. 2016, arXiv:1602.07261"
    image_shape = (299, 299, 3)
    epsilon = 1e-3

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv_norm_act = self.conv_norm_act(train)
        for name, *shape in STEM:
            x = conv_norm_act(*shape, name=name)(x)
            if name in ("conv2b", "conv4a"):
                x = max_pool(x, 3, stride=2)
        x = endpoint("stem", x)
        for number in (1, 2, 3):
            x = endpoint(f"stage{number}", self.checkpointed(InceptionResNetV2.stage, x, train, number))
        x = conv_norm_act(1536, 1, name="conv7b")(x)
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.2, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        conv_norm_act, (_, _, act) = self.conv_norm_act(train), self.layers(train)
        project = functools.partial(Conv, dtype=self.dtype, kernel_init=self._kernel_init())
        name = tuple(ENTRIES)[number - 1]
        x = Inception(conv_norm_act, ENTRIES[name], name=name)(x)
        for i in range(1, self.stage_sizes[number - 1] + 1):
            last = (number, i) == (3, self.stage_sizes[2])
            x = ResidualInception(
                conv_norm_act,
                project,
                None if last else act,
                BLOCKS[number - 1],
                1.0 if last else SCALES[number - 1],
                name=f"stage{number}_block{i}",
            )(x)
        return x

    def smallest(self, *, train: bool) -> int:
        return 75

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return PLUS_MINUS_ONE

    def torch_name(self, layer: str) -> str:
        top, *inner = layer.split("/")
        if top == "head":
            return "classif"
        if top.startswith("stage"):
            number, i = (int(n) for n in top.removeprefix("stage").split("_block"))
            top = f"{('repeat', 'repeat_1', 'repeat_2')[number - 1]}.{i - 1}"
            if (number, i) == (3, self.stage_sizes[2]):
                top = "block8"
        inner = [{"project": "conv2d", "norm": "bn"}.get(name, name.replace("_", ".")) for name in inner]
        return ".".join([top.replace("conv", "conv2d_"), *inner])


inception_resnet_v2 = functools.partial(InceptionResNetV2, stage_sizes=(10, 20, 10))
