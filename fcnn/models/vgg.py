"""The VGG networks: nothing but 3x3 convolutions, 2x2 pools and depth.

| name | configuration | parameters at 1,000 classes | with batch norm (`_bn`) |
|---|---|---|---|
| vgg11 | A | 132,863,336 | 132,868,840 |
| vgg13 | B | 133,047,848 | 133,053,736 |
| vgg16 | D | 138,357,544 | 138,365,992 |
| vgg19 | E | 143,667,240 | 143,678,248 |

K. Simonyan, A. Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv:1409.1556, table 1.
"""

import jax

from fcnn.models.classifier import Classifier, Layers, Norm, flatten
from fcnn.nn import adaptive_avg_pool, global_avg_pool, max_pool

CHANNELS = (64, 128, 256, 512, 512)


class VGG(Classifier, kw_only=True):
    """Five stages of 3x3 convolutions, a max pool after each, dense layers, a classifier.

    From 32x32 pixels on; what is left is averaged to 7x7, which for 224x224 changes nothing. Endpoints: stage1 to
    stage5, fc6, fc7.
    """

    depths: tuple[int, int, int, int, int]
    """Convolutions a stage."""
    hidden: tuple[int, ...] = (4096, 4096)
    """Widths of the dense layers before the classifier. With none, `hidden=()`, the classifier sees each channel's mean
    over all positions: the usual form for 32x32 images, 512 to the classes."""
    norm: Norm = "none"

    paper = "Simonyan & Zisserman 2014, arXiv:1409.1556"

    def forward(self, x: jax.Array, layers: Layers) -> jax.Array:
        for number in (1, 2, 3, 4, 5):
            x = layers.stage(f"stage{number}", VGG._stage, x, number)
        x = flatten(adaptive_avg_pool(x, 7)) if self.hidden else global_avg_pool(x)
        for i, features in enumerate(self.hidden, start=6):
            x = layers.endpoint(f"fc{i}", layers.act(layers.dense(features, name=f"fc{i}")(x)))
            x = layers.dropout(x, 0.5)
        return layers.head(x)

    def _stage(self, x: jax.Array, layers: Layers, number: int) -> jax.Array:
        for i in range(1, self.depths[number - 1] + 1):
            x = layers.unit(CHANNELS[number - 1], 3, padding=1, bias=True, name=f"stage{number}_conv{i}")(x)
        return max_pool(x, 2)

    def smallest(self, *, train: bool) -> int:
        return 32

    def torch_name(self, layer: str) -> str:
        unit, _, part = layer.partition("/")
        if unit == "head":
            return f"classifier.{3 * len(self.hidden)}"
        if unit.startswith("fc"):
            return f"classifier.{3 * (int(unit[2:]) - 6)}"
        # torchvision counts every convolution, norm, activation and pool of one long sequence.
        stage, i = (int(word[len(prefix) :]) for word, prefix in zip(unit.split("_"), ("stage", "conv"), strict=True))
        step = 2 if self.norm == "none" else 3
        before = sum(self.depths[: stage - 1]) + i - 1
        return f"features.{step * before + stage - 1 + (part == 'norm')}"
