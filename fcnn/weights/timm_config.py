"""What timm writes beside a network's weights, `config.json`: which architecture, and how images are prepared."""

import dataclasses
import typing
from pathlib import Path
from typing import Any

from fcnn import registry, zoo
from fcnn.config import ModelConfig
from fcnn.config.names import Interpolation
from fcnn.config.serialize import fits
from fcnn.utils.errors import UserError
from fcnn.utils.json_file import read_json

FILE = "config.json"
TORCH, TF = {"padding": "torch", "epsilon": 1e-5}, {"padding": "SAME", "epsilon": 1e-3}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"efficientnet_b{i}": (f"efficientnet_b{i}", TORCH) for i in range(8)},
    **{f"tf_efficientnet_b{i}": (f"efficientnet_b{i}", TF) for i in range(8)},
    **{f"tf_efficientnetv2_{size}": (f"efficientnet_v2_{size}", TF) for size in "sml"},
    **{f"efficientnet_lite{i}": (f"efficientnet_lite{i}", TORCH) for i in range(5)},
    **{f"tf_efficientnet_lite{i}": (f"efficientnet_lite{i}", TF) for i in range(5)},
    **{f"mobilenetv3_{size}_100": (f"mobilenet_v3_{size}", TORCH) for size in ("small", "large")},
    **{f"tf_mobilenetv3_{size}_100": (f"mobilenet_v3_{size}", TF) for size in ("small", "large")},
    "mobilenetv2_100": ("mobilenet_v2", {}),
    "mnasnet_050": ("mnasnet0_5", {}),
    "mnasnet_100": ("mnasnet1_0", {}),
    "legacy_xception": ("xception", {}),
    "regnetx_004_tv": ("regnet_x_400mf", {}),
    "regnety_004": ("regnet_y_400mf", {}),
    "regnety_008_tv": ("regnet_y_800mf", {}),
}
"""timm's architectures that have another name here, or options that their weights don't show."""


@dataclasses.dataclass(frozen=True)
class TimmConfig:
    """Of a network: the architecture, and how its images are prepared."""

    model: ModelConfig
    preprocessing: dict[str, Any]
    """The fields of `NetworkInfo` for it."""
    classes: tuple[str, ...]
    """The names of the classes; () if nobody named them."""
    notes: tuple[str, ...] = ()
    """What is done otherwise here."""

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.preprocessing["image_shape"][2]

    def fields(self, outputs: int) -> dict[str, Any]:
        """Returns the fields of `NetworkInfo` that are known of a network with so many outputs."""
        named = dict(classes=self.classes, named=True) if self.classes and len(self.classes) == outputs else {}
        return self.preprocessing | named


def read_timm_config(weights: Path) -> TimmConfig | None:
    """Returns what `config.json` beside a file of weights says; None where there is none, or it isn't timm's.

    Raises:
      UserError: it is timm's, of an architecture that isn't here, or with values of another kind.
    """
    path = weights.parent / FILE
    try:
        config = read_json(path)
    except UserError:  # none, or another program's
        return None
    if not isinstance(config, dict) or not isinstance(architecture := config.get("architecture"), str):
        return None
    said = config.get("pretrained_cfg", config)
    if not isinstance(said, dict) or "input_size" not in said:
        return None
    name, options = MODELS.get(architecture, (architecture, {}))
    if name not in registry.MODELS:
        raise UserError(f"{path} says that {weights.name} is a {architecture}, which fcnn doesn't have")
    try:
        preprocessing = _preprocessing(said)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    mode = said.get("crop_mode", "center")
    notes = () if mode == "center" else (f"In timm its photographs are not cropped ({mode}); here the center is.",)
    return TimmConfig(ModelConfig(name=name, options=dict(options)), preprocessing, _classes(config | said), notes)


def _preprocessing(said: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of `NetworkInfo` that timm's config has; ValueError if a value can't be read."""
    size, mean, std = (_numbers(said, name) for name in ("input_size", "mean", "std"))
    crop, interpolation = said.get("crop_pct", 1.0), said.get("interpolation", "bilinear")
    if len(size) != 3 or not all(fits(n, int) and n > 0 for n in size) or {len(mean), len(std)} != {size[0]}:
        raise ValueError(f"input_size, mean and std don't go together: {size}, {mean}, {std}")
    if not fits(crop, float) or not 0 < crop <= 1:
        raise ValueError(f"crop_pct must be above 0 and at most 1, got {crop!r}")
    if interpolation not in typing.get_args(Interpolation):
        raise ValueError(f"interpolation must be bilinear or bicubic, got {interpolation!r}")
    channels, height, width = size
    return dict(image_shape=(height, width, channels), mean=mean, std=std, crop=crop, interpolation=interpolation)


def _classes(said: dict[str, Any]) -> tuple[str, ...]:
    """Returns the names of the classes, where they are there or known."""
    names = said.get("label_names")
    if names is None and said.get("num_classes") == 1000 and str(said.get("tag")).endswith("in1k"):
        return zoo.class_names("imagenet.txt")
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _numbers(said: dict[str, Any], name: str) -> tuple[Any, ...]:
    values = said.get(name)
    if not isinstance(values, list) or not all(fits(value, float) for value in values):
        raise ValueError(f"{name} must be numbers, got {values!r}")
    return tuple(values)
