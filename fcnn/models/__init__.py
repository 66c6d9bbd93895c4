"""Every architecture by name: `create("resnet20", num_classes=10)` gives a Linen module."""

from fcnn.models.classifier import Classifier
from fcnn.models.create import config_fields, create, depths, family, from_config, names, options, preset_fields
from fcnn.models.endpoints import Endpoint, endpoints

__all__ = [
    "Classifier",
    "Endpoint",
    "config_fields",
    "create",
    "depths",
    "endpoints",
    "family",
    "from_config",
    "names",
    "options",
    "preset_fields",
]
