"""Every architecture by name: `create("resnet20", num_classes=10)` gives a Linen module."""

from fcnn.models.classifier import Classifier
from fcnn.models.create import (
    TRAINING,
    config_fields,
    create,
    family,
    from_config,
    names,
    options,
    preset_fields,
    variants,
)
from fcnn.models.endpoints import Endpoint, endpoints, logits_and_features

__all__ = [
    "TRAINING",
    "Classifier",
    "Endpoint",
    "config_fields",
    "create",
    "endpoints",
    "family",
    "from_config",
    "logits_and_features",
    "names",
    "options",
    "preset_fields",
    "variants",
]
