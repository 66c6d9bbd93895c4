"""What is measured: who trains on which photographs, for how long. Standard library only."""

import dataclasses
from typing import Literal

Contender = Literal["fcnn", "torch", "logistic regression"]
WEIGHTS = "efficientnet_lite0"
"""Of the zoo: what everybody starts from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A training."""

    contender: Contender
    images_per_class: int | None
    """Training and validation images; None for all."""
    seed: int
    """Of the splits, and of the training."""
    minutes: float
    images: str
    """A hash of the images and their splits."""
    rate: float | None = None
    """torch: the peak learning rate."""
    freeze_batch_norm: bool | None = None
    """torch: whether batch norm keeps its running statistics."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a process is told (`worker.py`)."""

    cell: Cell
    root: str
    """The folder of the images."""
    run: str
    """The folder of the `fcnn train` that was the first on these images: it knows their splits and their size."""
    device: str
    """As `Environment.device`."""
    began: float
    """When the process was started, by `time.time`."""


RATES = (2e-4, 6e-4)
GRID = tuple({"rate": rate, "freeze_batch_norm": frozen} for rate in RATES for frozen in (True, False))
"""PyTorch's: on the first split each point is trained for as long as `fcnn train` is, on the others the best one."""
