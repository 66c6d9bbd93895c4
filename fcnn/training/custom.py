"""What a user passes in place of what a config names: a model, a data set, an optimizer, an augmentation, a loss."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from fcnn.config import AugmentConfig, Config, OptimConfig
from fcnn.config.presets import Preset
from fcnn.data import Dataset
from fcnn.training.metrics import LogitsLoss
from fcnn.training.step import Preprocess
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Custom:
    """What a user passes in place of what the config names; None takes the config's."""

    model: nn.Module | None = None
    """Any Linen module with `__call__(images, train: bool) -> logits (B, classes)`."""
    dataset: Dataset | None = None
    """As `fcnn.data.from_arrays` makes it."""
    optimizer: optax.GradientTransformation | None = None
    augment: Preprocess | None = None
    """`(key, batch) -> batch`, pure, of stored images (uint8) before they are normalized."""
    loss: LogitsLoss | None = None
    """`(logits, labels) -> (B,)`; metrics go on reporting the cross-entropy."""

    @staticmethod
    def of_preset(preset: Preset, config: Config) -> "Custom":
        """Returns what a preset file defines for a config."""
        return Custom(**{field.name: preset.call(field.name, config) for field in dataclasses.fields(Custom)})

    def names(self) -> list[str]:
        """Returns the names of those that are passed."""
        return [field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None]


def check_custom(custom: Custom, config: Config, dataset: Dataset) -> None:
    """UserError if an option has no effect beside what a user passes, or if a model's logits don't fit the classes."""
    if custom.model is not None and config.transfer.weights is not None:
        raise UserError("transfer.weights has no effect with a model of one's own")
    if custom.augment is not None and config.augment != AugmentConfig():
        raise UserError("augment.* has no effect with an augmentation of one's own")
    default = OptimConfig()
    if custom.loss is not None and (config.optim.label_smoothing or config.optim.loss != default.loss):
        raise UserError("optim.loss and optim.label-smoothing have no effect with a loss of one's own")
    beside = {name: getattr(default, name) for name in ("l1", "l2", "decay_mask", "loss", "label_smoothing")}
    optim = dataclasses.replace(config.optim, **beside)
    if custom.optimizer is not None and optim != OptimConfig():
        raise UserError("optim.* has no effect with an optimizer of one's own, but for l1, l2 and label-smoothing")
    if custom.model is None:
        return
    images = jnp.zeros((1, *dataset.image_shape), jnp.float32)
    logits: Any = jax.eval_shape(
        lambda key: custom.model.init_with_output(key, images, train=False)[0],  # pyright: ignore[reportOptionalMemberAccess]  # not None: see above
        jax.random.key(0),
    )
    if getattr(logits, "shape", None) != (1, len(dataset.classes)):
        shape = getattr(logits, "shape", type(logits).__name__)
        raise UserError(
            f"the model gives {shape} for one image; logits must be (1, {len(dataset.classes)}), one for each class"
        )
