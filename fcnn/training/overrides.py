"""What a user passes in place of what a config names: a model, a data set, an optimizer, an augmentation, a loss."""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from fcnn.config import AugmentConfig, Config, OptimConfig
from fcnn.config.presets import Preset, read_preset
from fcnn.data import Dataset
from fcnn.training.metrics import LogitsLoss
from fcnn.training.step import Preprocess
from fcnn.training.workdir import read_config
from fcnn.utils.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overrides:
    """What a user passes in place of what the config names; None takes the config's."""

    model: nn.Module | None = None
    """Any Linen module with `__call__(images, train: bool) -> logits (B, classes)`."""
    dataset: Dataset | None = None
    """As `fcnn.data.from_arrays` makes it."""
    optimizer: optax.GradientTransformation | None = None
    augment: Preprocess | None = None
    """`(key, batch) -> batch`, pure, of stored images (uint8) before they are normalized."""
    loss: LogitsLoss | None = None
    """`(logits, labels) -> (B,)`; metrics still report the cross-entropy."""

    @staticmethod
    def of_preset(preset: Preset, config: Config) -> "Overrides":
        """Returns what a preset file defines for a config."""
        return Overrides(**{field.name: preset.call(field.name, config) for field in dataclasses.fields(Overrides)})

    @staticmethod
    def of_network(preset: str | None, network: str) -> "Overrides":
        """Returns the model and data set that a preset file defines for the config of the run in the folder `network`,
        or for the preset's own config if `network` is a file.

        Raises:
          UserError: the file defines neither a model nor a data set.
        """
        if preset is None:
            return Overrides()
        defined = read_preset(preset)
        if not {"model", "dataset"} & set(defined.hooks):
            raise UserError(f"{preset} defines neither model(config) nor dataset(config)")
        folder = Path(network).expanduser()
        config = read_config(folder) if folder.is_dir() else defined.config
        return Overrides(model=defined.call("model", config), dataset=defined.call("dataset", config))

    def names(self) -> list[str]:
        """Returns the names of those that are passed."""
        return [field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None]


def check_overrides(overrides: Overrides, config: Config, dataset: Dataset) -> None:
    """UserError if an option has no effect beside what a user passes, or if a model's logits don't fit the classes."""
    if overrides.model is not None and config.transfer.weights is not None:
        raise UserError("transfer.weights has no effect with your own model")
    if overrides.augment is not None and config.augment != AugmentConfig():
        raise UserError("augment.* has no effect with your own augmentation")
    default = OptimConfig()
    if overrides.loss is not None and (config.optim.label_smoothing or config.optim.loss != default.loss):
        raise UserError("optim.loss and optim.label-smoothing have no effect with your own loss")
    beside = {name: getattr(default, name) for name in ("l1", "l2", "decay_mask", "loss", "label_smoothing")}
    optim = dataclasses.replace(config.optim, **beside)
    if overrides.optimizer is not None and optim != OptimConfig():
        others = "l1, l2, decay-mask, loss and label-smoothing"
        raise UserError(f"optim.* has no effect with your own optimizer, except {others}")
    model = overrides.model
    if model is None:
        return
    images = jnp.zeros((1, *dataset.image_shape), jnp.float32)
    logits: Any = jax.eval_shape(lambda key: model.init_with_output(key, images, train=False)[0], jax.random.key(0))
    if getattr(logits, "shape", None) != (1, len(dataset.classes)):
        shape = getattr(logits, "shape", type(logits).__name__)
        raise UserError(
            f"the model gives {shape} for one image; logits must be (1, {len(dataset.classes)}), one for each class"
        )
