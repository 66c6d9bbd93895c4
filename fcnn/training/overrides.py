"""What a user passes in place of what a config names: a model, a data set, an optimizer, an augmentation, a loss."""

import dataclasses
from collections.abc import Callable, Sequence
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
from fcnn.utils.batch import make_batch
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

    def __post_init__(self) -> None:
        """UserError if one of them is something else than it should be."""
        optimizer = self.optimizer
        for name, fits, kind in (
            ("model", isinstance(self.model, nn.Module | None), "a Linen module"),
            ("dataset", isinstance(self.dataset, Dataset | None), "a data set, as fcnn.data.from_arrays makes it"),
            ("optimizer", optimizer is None or hasattr(optimizer, "update"), "a transformation of Optax"),
            ("augment", self.augment is None or callable(self.augment), "a function (key, batch) -> batch"),
            ("loss", self.loss is None or callable(self.loss), "a function (logits, labels) -> (B,)"),
        ):
            if not fits:
                raise UserError(f"{name} must be {kind}, got {type(getattr(self, name)).__name__}")

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
    _check_functions(overrides, config, dataset)
    model = overrides.model
    if model is None:
        return
    images = jnp.zeros((1, *dataset.image_shape), jnp.float32)
    logits = _shapes_of("model", lambda key: model.init_with_output(key, images, train=False)[0], jax.random.key(0))
    if getattr(logits, "shape", None) != (1, len(dataset.classes)):
        shape = getattr(logits, "shape", type(logits).__name__)
        raise UserError(
            f"the model gives {shape} for one image; logits must be (1, {len(dataset.classes)}), one for each class"
        )


def _check_functions(overrides: Overrides, config: Config, dataset: Dataset) -> None:
    """UserError unless a user's augmentation and loss give what a step takes, by their shapes."""
    classes = len(dataset.classes)
    size = config.train.batch_size
    batch: Any = jax.eval_shape(
        lambda: {
            **make_batch(jnp.zeros((size, *dataset.train.shape), jnp.uint8), jnp.zeros(size, jnp.int32)),
            "step": jnp.int32(0),
        }
    )
    mixed = config.augment.mixup or config.augment.cutmix
    label = jax.ShapeDtypeStruct((size, classes), "float32") if mixed else batch["label"]
    if overrides.augment is not None:
        changed = _shapes_of("augment", overrides.augment, jax.random.key(0), batch)
        if not isinstance(changed, dict) or not {"image", "label", "mask", "index"} <= changed.keys():
            raise UserError("augment must return the batch, a dict with image, label, mask and index")
        if getattr(changed["image"], "shape", ())[:1] != (size,):
            raise UserError("augment must return as many images as it gets, (B, H, W, C)")
        label = changed["label"]
    if overrides.loss is not None:
        part = size // config.train.grad_accum_steps
        label = jax.ShapeDtypeStruct((part, *label.shape[1:]), label.dtype)
        losses = _shapes_of("loss", overrides.loss, jax.ShapeDtypeStruct((part, classes), "float32"), label)
        if getattr(losses, "shape", None) != (part,):
            shape = getattr(losses, "shape", type(losses).__name__)
            raise UserError(
                f"loss must give ({part},) for logits ({part}, {classes}), one for each example, got {shape}"
            )


def check_callbacks(callbacks: Any) -> None:
    """UserError unless they are functions."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise UserError("callbacks must be a list of functions of a record")


def _shapes_of(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Returns what a user's function would give, as shapes; UserError if it fails."""
    try:
        return jax.eval_shape(function, *args)
    except UserError:
        raise
    except Exception as error:  # it is anybody's program
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise UserError(f"your own {name} fails: {type(error).__name__}: {reason}") from error
