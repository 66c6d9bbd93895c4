"""A run's configuration: the dataclasses, presets, JSON. Standard library only."""

from fcnn.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    ParallelConfig,
    TrainConfig,
    TransferConfig,
    in_steps,
)

__all__ = [
    "AugmentConfig", "Config", "DataConfig", "ModelConfig", "OptimConfig", "ParallelConfig", "TrainConfig",
    "TransferConfig", "in_steps",
]  # fmt: skip
