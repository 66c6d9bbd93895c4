"""Inception v4: Inception v3 made uniform, its stem of branches too, and deeper.

| name | parameters at 1,000 classes |
|---|---|
| inception_v4 | 42,679,816 |

C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning, arXiv:1602.07261, figures 3 to 9; layer by layer as timm has it, whose weights are TensorFlow's.
"""

import functools

import jax

from fcnn.models.classifier import PLUS_MINUS_ONE, Classifier, EndpointFn
from fcnn.models.inception import COLUMN, ROW, Chains, Inception
from fcnn.nn import global_avg_pool

STEM: dict[str, Chains] = {
    "mixed_3a": ((("max_pool",),), (("conv", 96, 3, 2),)),
    "mixed_4a": (
        (("branch0_0", 64, 1), ("branch0_1", 96, 3)),
        (("branch1_0", 64, 1), ("branch1_1", 64, *ROW), ("branch1_2", 64, *COLUMN), ("branch1_3", 96, 3)),
    ),
    "mixed_5a": ((("conv", 192, 3, 2),), (("max_pool",),)),
}

# The block of each stage, at 35x35, 17x17 and 8x8 (figures 4 to 6).
BLOCKS: tuple[Chains, ...] = (
    (
        (("branch0", 96, 1),),
        (("branch1_0", 64, 1), ("branch1_1", 96, 3, 1, 1)),
        (("branch2_0", 64, 1), ("branch2_1", 96, 3, 1, 1), ("branch2_2", 96, 3, 1, 1)),
        (("avg_pool",), ("branch3_1", 96, 1)),
    ),
    (
        (("branch0", 384, 1),),
        (("branch1_0", 192, 1), ("branch1_1", 224, *ROW), ("branch1_2", 256, *COLUMN)),
        (
            ("branch2_0", 192, 1),
            ("branch2_1", 192, *COLUMN),
            ("branch2_2", 224, *ROW),
            ("branch2_3", 224, *COLUMN),
            ("branch2_4", 256, *ROW),
        ),
        (("avg_pool",), ("branch3_1", 128, 1)),
    ),
    (
        (("branch0", 256, 1),),
        (("branch1_0", 384, 1), ("branch1_1ab", 256)),
        (
            ("branch2_0", 384, 1),
            ("branch2_1", 448, (3, 1), 1, (1, 0)),
            ("branch2_2", 512, (1, 3), 1, (0, 1)),
            ("branch2_3ab", 256),
        ),
        (("avg_pool",), ("branch3_1", 256, 1)),
    ),
)

# What halves the size in front of the second and the third stage (figures 7 and 8).
REDUCTIONS: tuple[Chains, ...] = (
    (
        (("branch0", 384, 3, 2),),
        (("branch1_0", 192, 1), ("branch1_1", 224, 3, 1, 1), ("branch1_2", 256, 3, 2)),
        (("max_pool",),),
    ),
    (
        (("branch0_0", 192, 1), ("branch0_1", 192, 3, 2)),
        (("branch1_0", 256, 1), ("branch1_1", 256, *ROW), ("branch1_2", 320, *COLUMN), ("branch1_3", 320, 3, 2)),
        (("max_pool",),),
    ),
)


class InceptionV4(Classifier, kw_only=True):
    """Three convolutions and three modules, three stages of inception modules with a reduction before the second and
    the third, average pooling, a dense layer; 299x299 in the paper.

    Endpoints: stem, stage1 to stage3, pool.
    """

    stage_sizes: tuple[int, int, int]
    """Inception modules a stage."""

    paper = "Szegedy et al. 2016, arXiv:1602.07261"
    image_shape = (299, 299, 3)
    epsilon = 1e-3

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        conv_norm_act = self.conv_norm_act(train)
        x = conv_norm_act(32, 3, 2, name="conv1a")(x)
        x = conv_norm_act(32, 3, name="conv2a")(x)
        x = conv_norm_act(64, 3, 1, 1, name="conv2b")(x)
        for name, chains in STEM.items():
            x = Inception(conv_norm_act, chains, name=name)(x)
        x = endpoint("stem", x)
        for number in (1, 2, 3):
            x = endpoint(f"stage{number}", self.checkpointed(InceptionV4.stage, x, train, number))
        x = endpoint("pool", global_avg_pool(x))
        return self.head(name="head")(self.drop(x, 0.2, train))

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        module = functools.partial(Inception, self.conv_norm_act(train))
        if number > 1:
            x = module(REDUCTIONS[number - 2], name=f"reduction{number}")(x)
        for i in range(self.stage_sizes[number - 1]):
            x = module(BLOCKS[number - 1], name=f"stage{number}_block{i + 1}")(x)
        return x

    def smallest(self, *, train: bool) -> int:
        return 75

    def preprocessing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return PLUS_MINUS_ONE

    def torch_name(self, layer: str) -> str:
        if layer == "head":
            return "last_linear"
        top, *inner, part = layer.split("/")
        # timm numbers all modules of one sequence.
        stages = [[f"stage{n}_block{i + 1}" for i in range(size)] for n, size in enumerate(self.stage_sizes, start=1)]
        modules = ["conv1a", "conv2a", "conv2b", *STEM, *stages[0]]
        modules += ["reduction2", *stages[1], "reduction3", *stages[2]]
        if not (top.startswith("stage3") and inner[0].startswith(("branch1", "branch2"))):  # no sequences there
            inner = [name.replace("_", ".") for name in inner]
        return ".".join(["features", str(modules.index(top)), *inner, part.replace("norm", "bn")])


inception_v4 = functools.partial(InceptionV4, stage_sizes=(4, 7, 3))
