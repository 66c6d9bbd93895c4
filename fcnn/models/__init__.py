"""Every architecture by name: `create("resnet20", num_classes=10)` gives a Linen module."""

from fcnn.models.classifier import Classifier
from fcnn.models.endpoints import Endpoint, endpoints
from fcnn.models.table import TABLE, create, family, options

__all__ = ["TABLE", "Classifier", "Endpoint", "create", "endpoints", "family", "options"]
