"""What there is by name, each as "module:object", so that a misspelt name is answered before jax is imported.

To add one, write it in a file of its own and add its line here. Standard library only.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from fcnn.utils.errors import UserError, unknown


def _of(module: str, *names: str) -> dict[str, str]:
    """Return the entries of objects that have the names by which they are known."""
    return {name: f"{module}:{name}" for name in names}


_REGNETS = ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")

MODELS = {
    **_of("fcnn.models.mlp", "linear", "mlp"),
    **_of("fcnn.models.shallow_cnn", "shallow_cnn"),
    **_of("fcnn.models.lenet", "lenet5"),
    **_of("fcnn.models.alexnet", "alexnet", "alexnet_2012"),
    **_of("fcnn.models.vgg", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    **_of("fcnn.models.googlenet", "googlenet", "googlenet_2014"),
    **_of("fcnn.models.inception_v2", "inception_v2"),
    **_of("fcnn.models.inception_v3", "inception_v3"),
    **_of("fcnn.models.resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    **_of("fcnn.models.cifar_resnet", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
    **_of("fcnn.models.cifar_resnet", "plain20", "plain32", "plain44", "plain56", "plain110"),
    **_of("fcnn.models.preact_resnet", "preact_resnet110", "preact_resnet164", "preact_resnet1001"),
    **_of("fcnn.models.squeezenet", "squeezenet1_0", "squeezenet1_1"),
    **_of("fcnn.models.inception_v4", "inception_v4"),
    **_of("fcnn.models.inception_resnet_v2", "inception_resnet_v2"),
    **_of("fcnn.models.xception", "xception"),
    **_of("fcnn.models.resnet", "wide_resnet50_2", "wide_resnet101_2"),
    **_of("fcnn.models.cifar_wide_resnet", "wrn_40_4", "wrn_16_8", "wrn_28_10"),
    **_of("fcnn.models.densenet", "densenet121", "densenet161", "densenet169", "densenet201"),
    **_of("fcnn.models.resnet", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    **_of("fcnn.models.resnet", "seresnet18", "seresnet34", "seresnet50", "seresnet101"),
    **_of("fcnn.models.mobilenet_v2", "mobilenet_v2"),
    **_of("fcnn.models.shufflenet_v2", *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0"))),
    **_of("fcnn.models.mnasnet", "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    **_of("fcnn.models.resnet", "resnet18d", "resnet34d", "resnet50d", "resnet101d"),
    **_of("fcnn.models.mobilenet_v3", "mobilenet_v3_small", "mobilenet_v3_large"),
    **_of("fcnn.models.efficientnet", *(f"efficientnet_b{size}" for size in range(8))),
    **_of("fcnn.models.efficientnet_lite", *(f"efficientnet_lite{size}" for size in range(5))),
    **_of("fcnn.models.resnetv2", "resnetv2_50x1_bit", "resnetv2_101x1_bit"),
    **_of("fcnn.models.regnet", *(f"regnet_x_{size}" for size in _REGNETS)),
    **_of("fcnn.models.regnet", *(f"regnet_y_{size}" for size in _REGNETS)),
    **_of("fcnn.models.efficientnet_v2", "efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"),
    **_of("fcnn.models.convnext", "convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano"),
    **_of("fcnn.models.convnext", "convnext_tiny", "convnext_small", "convnext_base", "convnext_large"),
}
"""Architectures: subclasses of `fcnn.models.Classifier`, or `functools.partial`s of them."""

STUDIES = {
    "initialization": "fcnn.studies.initialization:Initialization",
    "vanishing_gradient": "fcnn.studies.vanishing_gradient:VanishingGradient",
    "residual": "fcnn.studies.residual:Residual",
    "batch_norm_rates": "fcnn.studies.normalization:BatchNormRates",
    "batch_norm_init": "fcnn.studies.normalization:BatchNormInit",
    "batch_size": "fcnn.studies.normalization:BatchSize",
    "optimizers": "fcnn.studies.optimizers:Optimizers",
    "regularization": "fcnn.studies.regularization:Regularization",
    "small_kernels": "fcnn.studies.small_kernels:SmallKernels",
    "linear_stack": "fcnn.studies.linear_stack:LinearStack",
    "max_pooling": "fcnn.studies.max_pooling:MaxPooling",
    "random_search": "fcnn.studies.random_search:RandomSearch",
    "transfer": "fcnn.studies.transfer:Transfer",
}
"""Subclasses of `fcnn.studies.study.Study`, in the order in which `fcnn study` lists them."""


def load(table: Mapping[str, str], name: str, what: str) -> Any:
    """Return the object of a name.

    Raises:
      UserError: the table has no such name; the message calls its entries `what` and suggests the nearest.
    """
    if name not in table:
        raise UserError(unknown(what, name, table))
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
