"""Every architecture by name: `create("resnet20", num_classes=10)` gives a Linen module."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from fcnn.errors import UserError, unknown
from fcnn.models.cifar_resnet import CifarResNet
from fcnn.models.mlp import MLP

TABLE: dict[str, Callable[..., nn.Module]] = {
    "linear": functools.partial(MLP, hidden=()),
    "mlp": functools.partial(MLP, hidden=(256, 128)),
    "resnet20": functools.partial(CifarResNet, blocks=3),
    "resnet32": functools.partial(CifarResNet, blocks=5),
    "resnet44": functools.partial(CifarResNet, blocks=7),
    "resnet56": functools.partial(CifarResNet, blocks=9),
    "resnet110": functools.partial(CifarResNet, blocks=18),
    "resnet1202": functools.partial(CifarResNet, blocks=200),
}


def create(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """The architecture `name` with `num_classes` outputs.

    Every model is a Linen module with the fields `dropout` (rate, default 0), `dtype` (of activations; params stay
    float32), `remat` and `axis_name` (to synchronise batch norm under pmap), and some have more; see their files.

        variables = model.init(key, images, train=False)      # {"params": ..., "batch_stats": ...}
        logits = model.apply(variables, images, train=False)  # images (B, H, W, C) -> (B, num_classes)

    Raises:
      UserError: no such name.
    """
    if name not in TABLE:
        raise UserError(unknown("model", name, TABLE))
    return TABLE[name](num_classes=num_classes, **options)
