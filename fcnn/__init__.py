"""fcnn: functional convolutional networks, the classic image classifiers in JAX and Flax.

    import fcnn

    metrics = fcnn.train(fcnn.load_preset("resnet"), workdir="runs/first")
    network = fcnn.load("runs/first")
    network.predict(["photo.jpg"])

What needs JAX is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fcnn.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    ParallelConfig,
    TrainConfig,
    TransferConfig,
)
from fcnn.config.presets import load_preset
from fcnn.utils.errors import UserError
from fcnn.utils.version import VERSION

if TYPE_CHECKING:
    from fcnn.api import create_model, evaluate, train
    from fcnn.data import from_arrays
    from fcnn.inference.load import load
    from fcnn.models import names as list_models
    from fcnn.weights import read_network as read_weights
    from fcnn.weights import write_network as write_weights

__version__ = VERSION
__all__ = [
    "AugmentConfig", "Config", "DataConfig", "ModelConfig", "OptimConfig", "ParallelConfig", "TrainConfig",
    "TransferConfig", "UserError", "create_model", "evaluate", "from_arrays", "list_models", "load", "load_preset",
    "read_weights", "train", "write_weights",
]  # fmt: skip

_LAZY = {
    "create_model": "fcnn.api:create_model",
    "evaluate": "fcnn.api:evaluate",
    "from_arrays": "fcnn.data:from_arrays",
    "list_models": "fcnn.models:names",
    "load": "fcnn.inference.load:load",
    "read_weights": "fcnn.weights:read_network",
    "train": "fcnn.api:train",
    "write_weights": "fcnn.weights:write_network",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fcnn' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
