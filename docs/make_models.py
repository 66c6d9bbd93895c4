"""Writes docs/models.md, the table of all architectures, and their counts beside the code: `python docs/make_models.py`
after adding one."""

import functools
from pathlib import Path

from fcnn import models, registry, zoo
from fcnn.models.counts import FILE
from fcnn.models.summary import Row, summarize

HEAD = """# The architectures

Create one with `fcnn.create_model(NAME, num_classes=...)` or `--model.name NAME`; `fcnn summary NAME` prints its
layers. Parameters, multiply-adds (in billions, of convolutions and dense layers; torchvision calls them GFLOPs) and
outputs of all layers (float32) are for one image, with the image size and number of classes of the published network,
without the auxiliary heads used only in training. "From" is the smallest possible image size; in brackets, with the
auxiliary heads in training.

"Weights" are the pretrained weights in `fcnn zoo`, with their published top-1 accuracy (for ImageNet, on the validation
split).

| name | image | classes | parameters | G multiply-adds | outputs, MB | from | own options | weights | paper |
|---|---|---|---|---|---|---|---|---|---|
"""

TAIL = """
With its auxiliary heads, googlenet has 13,004,888 parameters, googlenet_2014 13,378,280, inception_v3 27,161,264.

Every architecture also has `width_multiplier`, `activation`, `norm`, `kernel_init`, `dropout`, `remat` and `dtype`
(`--precision`) ([`classifier.py`](../fcnn/models/classifier.py)). On the command line they are
`--model.width-multiplier 0.5`, `--model.norm group` and so on, an architecture's own options
`--model.options.shortcut projection` or `--model.options.no-zero-init`.

**Compared with** (the tests are in `tests/models` and `tests/weights`):

| | reference |
|---|---|
| alexnet, vgg11, vgg11_bn, vgg16, googlenet, inception_v3, resnet18, resnet50, resnext50_32x4d, regnet_y_400mf, convnext_tiny, densenet121, mobilenet_v2, mobilenet_v3_large, mnasnet1_0, shufflenet_v2_x1_0 | torchvision 0.28 with the same weights: logits in evaluation and training, batch statistics, gradients, three steps of SGD |
| resnext101_32x8d, resnext101_64x4d, wide_resnet50_2, wide_resnet101_2, regnet_x_8gf, regnet_y_1_6gf, densenet161, densenet169, mobilenet_v3_small, mnasnet0_5, mnasnet0_75, mnasnet1_3, shufflenet_v2_x0_5, shufflenet_v2_x1_5, shufflenet_v2_x2_0, convnext_small | torchvision 0.28 with the same weights: logits in evaluation at two sizes of images |
| efficientnet_b0 | torchvision, the same checks; efficientnet_b1, b4, b5 by logits in evaluation |
| efficientnet_v2_s | torchvision, the same checks; evaluation in float64, as float32 differs by 20 % with these random weights; efficientnet_v2_m and l by logits in float64 |
| efficientnet_lite0 | timm with `padding="torch", epsilon=1e-5`, the same checks; efficientnet_lite1, lite4 also with its `tf_efficientnet_lite1`, `lite4`, by logits in evaluation |
| seresnet50, resnet50d, resnetv2_50x1_bit, xception, inception_v4 | timm 1.0.31, the same checks as with torchvision |
| seresnet18, seresnet34, seresnet101, resnet18d, resnet34d, resnet101d, resnetv2_101x1_bit, inception_resnet_v2, convnext_atto, convnext_nano | timm 1.0.31 with the same weights: logits in evaluation at two sizes of images |
| mobilenet_v2, mobilenet_v3_large with `epsilon=1e-5`, mobilenet_v3_small with `padding="SAME"`, mnasnet1_0 | also timm 1.0.31's `mobilenetv2_100`, `mobilenetv3_large_100`, `tf_mobilenetv3_small_100`, `mnasnet_100`: logits in evaluation at two sizes of images |
| inception_v2 | Cadene's pretrained-models.pytorch, the same checks |
| resnet20, resnet56 | the weights of github.com/akamaster/pytorch_resnet_cifar10 give their published 91.73 % and 93.39 % on CIFAR-10's test images |
| wrn_16_8, wrn_40_4 | github.com/xternalz/WideResNet-pytorch with the same weights: logits in evaluation |
| multiply-adds | torchvision's published GFLOPs, to three decimals |
| receptive fields | those of Araujo, Norris & Sim 2019 for VGG-16, Inception v2 and v3, ResNet-50 and 101 |
| alexnet_2012, googlenet_2014, lenet5, preact_resnet*, plain* | parameter counts only |

Kernels have He normal initialization, or one that suits another activation; the classifier has LeCun normal. One
network of each kind was trained until it overfitted 8 images (loss below 0.01; the large ones at a quarter of their
width). Adam at 0.001 did it in 10 to 290 steps, but VGG-19 without batch norm needs 0.0003.
"""


@functools.cache
def layers_of(name: str) -> list[Row]:
    """Every layer of an architecture as it was published."""
    return summarize(models.create(name, num_classes=models.family(name).classes))


def row(name: str) -> str:
    """A line of the table."""
    model, layers = models.create(name, num_classes=models.family(name).classes), layers_of(name)
    least, with_heads = model.smallest(train=False), model.smallest(train=True)
    cells = [
        f"`{name}`",
        "x".join(map(str, model.image_shape)),
        f"{model.num_classes:,}",
        f"{sum(layer.parameters for layer in layers):,}",
        f"{sum(layer.multiply_adds for layer in layers) / 1e9:.3f}",
        f"{sum(layer.bytes for layer in layers if layer.type) / 1e6:.1f}",
        f"{least}" if least == with_heads else f"{least} ({with_heads})",
        ", ".join(f"`{option}`" for option in models.options(name)),
        ", ".join(f"{e.name} ({e.accuracy:.1%})" for e in zoo.TABLE.values() if e.model.name == name),
        model.paper,
    ]
    return "| " + " | ".join(cells) + " |\n"


def counts(name: str) -> str:
    """A line of the counts that `fcnn models` prints."""
    rows = layers_of(name)
    return f'  "{name}": [{sum(row.parameters for row in rows)}, {sum(row.multiply_adds for row in rows)}]'


def main() -> None:
    text = HEAD + "".join(map(row, registry.MODELS)) + TAIL
    Path(__file__).with_name("models.md").write_text(text)
    FILE.write_text("{\n" + ",\n".join(map(counts, registry.MODELS)) + "\n}\n")


if __name__ == "__main__":
    main()
