"""The VGG networks: nothing but 3x3 convolutions, 2x2 pools and depth.

| name | configuration | parameters at 1,000 classes | with batch norm (`_bn`) |
|---|---|---|---|
| vgg11 | A | 132,863,336 | 132,868,840 |
| vgg13 | B | 133,047,848 | 133,053,736 |
| vgg16 | D | 138,357,544 | 138,365,992 |
| vgg19 | E | 143,667,240 | 143,678,248 |

K. Simonyan, A. Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv:1409.1556, table 1.
"""

import functools

import jax

from fcnn.models.classifier import Classifier, EndpointFn, Norm, flatten
from fcnn.nn import activation, adaptive_avg_pool, global_avg_pool, max_pool

CHANNELS = (64, 128, 256, 512, 512)


class VGG(Classifier, kw_only=True):
    """Five stages of 3x3 convolutions, a max pool after each, dense layers, a classifier.

    From 32x32 pixels on; what is left is averaged to 7x7, which for 224x224 changes nothing. Endpoints: stage1 to
    stage5, fc6, fc7.
    """

    stage_sizes: tuple[int, int, int, int, int]
    """Convolutions a stage."""
    hidden: tuple[int, ...] = (4096, 4096)
    """Widths of the dense layers before the classifier. Without any (`hidden=()`), the classifier follows global
    average pooling, as usual for 32x32 images."""
    norm: Norm = "none"

    conv_bias = True
    paper = "Simonyan & Zisserman 2014, arXiv:1409.1556"

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        for number in (1, 2, 3, 4, 5):
            x = endpoint(f"stage{number}", self.checkpointed(VGG.stage, x, train, number))
        x = flatten(adaptive_avg_pool(x, 7)) if self.hidden else global_avg_pool(x)
        act = activation(self.activation)
        for i, features in enumerate(self.hidden, start=6):
            x = endpoint(f"fc{i}", act(self.dense(features, name=f"fc{i}")(x)))
            x = self.drop(x, 0.5, train, before=f"fc{i + 1}" if i < 5 + len(self.hidden) else "head")
        return self.head(name="head")(x)

    def stage(self, x: jax.Array, train: bool, number: int) -> jax.Array:
        conv_norm_act = self.conv_norm_act(train)
        for i in range(1, self.stage_sizes[number - 1] + 1):
            x = conv_norm_act(CHANNELS[number - 1], 3, padding=1, name=f"stage{number}_conv{i}")(x)
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
        before = sum(self.stage_sizes[: stage - 1]) + i - 1
        return f"features.{step * before + stage - 1 + (part == 'norm')}"

    def timm_name(self, layer: str) -> str:
        # The first two are convolutions of 7x7 and 1x1 there.
        dense = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "head": "head.fc"}
        return dense[layer] if layer in dense else self.torch_name(layer)


vgg11 = functools.partial(VGG, stage_sizes=(1, 1, 2, 2, 2))
vgg13 = functools.partial(VGG, stage_sizes=(2, 2, 2, 2, 2))
vgg16 = functools.partial(VGG, stage_sizes=(2, 2, 3, 3, 3))
vgg19 = functools.partial(VGG, stage_sizes=(2, 2, 4, 4, 4))
vgg11_bn = functools.partial(vgg11, norm="batch")
vgg13_bn = functools.partial(vgg13, norm="batch")
vgg16_bn = functools.partial(vgg16, norm="batch")
vgg19_bn = functools.partial(vgg19, norm="batch")
