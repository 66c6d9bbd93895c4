"""The table of architectures: their names, and what each is made of."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from fcnn.models.alexnet import AlexNet
from fcnn.models.cifar_resnet import CifarResNet
from fcnn.models.classifier import Classifier
from fcnn.models.googlenet import GoogLeNet
from fcnn.models.inception_v2 import InceptionV2
from fcnn.models.inception_v3 import InceptionV3
from fcnn.models.lenet import LeNet5
from fcnn.models.mlp import MLP
from fcnn.models.preact_resnet import PreActBasicBlock, PreActBottleneck, PreActResNet
from fcnn.models.resnet import BasicBlock, Bottleneck, ResNet
from fcnn.models.shallow_cnn import ShallowCNN
from fcnn.models.squeezenet import SqueezeNet
from fcnn.models.vgg import VGG
from fcnn.utils.errors import UserError, unknown

_VGG = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_CIFAR = {layers: (layers // 6,) * 3 for layers in (20, 32, 44, 56, 110)}

TABLE: dict[str, Callable[..., Classifier]] = {
    "linear": functools.partial(MLP, hidden=()),
    "mlp": MLP,
    "shallow_cnn": ShallowCNN,
    "lenet5": LeNet5,
    "alexnet": AlexNet,
    "alexnet_2012": functools.partial(AlexNet, as_published=True),
    **{name: functools.partial(VGG, stage_sizes=sizes) for name, sizes in _VGG.items()},
    **{f"{name}_bn": functools.partial(VGG, stage_sizes=sizes, norm="batch") for name, sizes in _VGG.items()},
    "googlenet": GoogLeNet,
    "googlenet_2014": functools.partial(GoogLeNet, as_published=True, norm="none"),
    "inception_v2": InceptionV2,
    "inception_v3": InceptionV3,
    "resnet18": functools.partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock),
    "resnet34": functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock),
    "resnet50": functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck),
    "resnet101": functools.partial(ResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck),
    "resnet152": functools.partial(ResNet, stage_sizes=(3, 8, 36, 3), block=Bottleneck),
    **{f"resnet{layers}": functools.partial(CifarResNet, stage_sizes=sizes) for layers, sizes in _CIFAR.items()},
    "resnet1202": functools.partial(CifarResNet, stage_sizes=(200, 200, 200)),
    **{f"plain{n}": functools.partial(CifarResNet, stage_sizes=sizes, shortcut="none") for n, sizes in _CIFAR.items()},
    "preact_resnet110": functools.partial(PreActResNet, stage_sizes=(18, 18, 18), block=PreActBasicBlock),
    "preact_resnet164": functools.partial(PreActResNet, stage_sizes=(18, 18, 18), block=PreActBottleneck),
    "preact_resnet1001": functools.partial(PreActResNet, stage_sizes=(111, 111, 111), block=PreActBottleneck),
    "squeezenet1_0": functools.partial(SqueezeNet, revised=False),
    "squeezenet1_1": functools.partial(SqueezeNet, revised=True),
}


def create(name: str, *, num_classes: int, **options: Any) -> Classifier:
    """Makes an architecture with `num_classes` outputs; `options` are fields of `Classifier` and of its own class.

        model = create("vgg11_bn", num_classes=10, hidden=(), width_multiplier=0.5)
        variables = model.init(key, images, train=False)      # {"params": ..., "batch_stats": ...}
        logits = model.apply(variables, images, train=False)  # images (B, H, W, C) -> (B, num_classes)

    Raises:
      UserError: no such name.
      TypeError: no such option.
    """
    family(name)
    return TABLE[name](num_classes=num_classes, **options)


def family(name: str) -> type[Classifier]:
    """Returns the class of an architecture, with its paper, image shape and number of classes; UserError if unknown."""
    if name not in TABLE:
        raise UserError(unknown("model", name, TABLE))
    entry: Any = TABLE[name]
    return getattr(entry, "func", entry)


def options(name: str) -> list[str]:
    """Lists the fields of an architecture that not all have, its own options: ["stride_on", "stem", "zero_init"]."""
    preset = getattr(TABLE[name], "keywords", {})
    common: Any = Classifier
    own: Any = family(name)
    known = {field.name for field in dataclasses.fields(common)} | preset.keys()
    return [field.name for field in dataclasses.fields(own) if field.name not in known]
