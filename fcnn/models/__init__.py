"""Every architecture by name: `create("resnet20", num_classes=10)` gives a Linen module."""

from fcnn.models.classifier import Classifier
from fcnn.models.create import create, depths, family, from_config, names, options
from fcnn.models.endpoints import Endpoint, endpoints

__all__ = ["Classifier", "Endpoint", "create", "depths", "endpoints", "family", "from_config", "names", "options"]
