"""fcnn: functional convolutional networks, the classic image classifiers in JAX and Flax.

    import fcnn

    metrics = fcnn.train(fcnn.load_preset("resnet"), workdir="runs/first")
    network = fcnn.load("runs/first")
    network.predict(["photo.jpg"])

What is named here is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcnn.api import evaluate, train
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
    from fcnn.data import from_arrays
    from fcnn.inference.load import load
    from fcnn.models import create as create_model
    from fcnn.models import names as list_models
    from fcnn.utils.errors import UserError
    from fcnn.weights import read_network as read_weights
    from fcnn.weights import write_network as write_weights

__version__ = "0.1.0"

_CONFIG = (
    "AugmentConfig",
    "Config",
    "DataConfig",
    "ModelConfig",
    "OptimConfig",
    "ParallelConfig",
    "TrainConfig",
    "TransferConfig",
)
_WHERE = dict.fromkeys(_CONFIG, "fcnn.config:") | {
    "UserError": "fcnn.utils.errors:",
    "create_model": "fcnn.models:create",
    "evaluate": "fcnn.api:",
    "from_arrays": "fcnn.data:",
    "list_models": "fcnn.models:names",
    "load": "fcnn.inference.load:",
    "load_preset": "fcnn.config.presets:",
    "read_weights": "fcnn.weights:read_network",
    "train": "fcnn.api:",
    "write_weights": "fcnn.weights:write_network",
}
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]  # resolved by __getattr__
    "AugmentConfig",
    "Config",
    "DataConfig",
    "ModelConfig",
    "OptimConfig",
    "ParallelConfig",
    "TrainConfig",
    "TransferConfig",
    "UserError",
    "__version__",
    "create_model",
    "evaluate",
    "from_arrays",
    "list_models",
    "load",
    "load_preset",
    "read_weights",
    "train",
    "write_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'fcnn' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
