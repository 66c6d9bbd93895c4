"""A trained network as it is handed on: its weights, and what one must know to use them."""

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcnn import models
from fcnn.calibration import Calibration
from fcnn.config import ModelConfig
from fcnn.config.names import Interpolation
from fcnn.config.serialize import build
from fcnn.utils.errors import UserError
from fcnn.utils.json_file import parse_json
from fcnn.utils.version import newer, with_version, without_version
from fcnn.weights.files import read_arrays, write_arrays
from fcnn.weights.foreign import fitting, input_channels, is_auxiliary, plain_names, unsaid_options
from fcnn.weights.timm_config import read_timm_config
from fcnn.weights.torch_names import COUNTER, from_torch, to_torch, torch_shapes

MAX_SIDE = 4096
"""Of images, as `DataConfig.image_size`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """What one must know of a network beside its weights: plain values, which a file can hold."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """Which architecture; of no meaning with `module`."""
    module: str = ""
    """The class of a user's own Linen module, which has no place among the architectures."""
    classes: tuple[str, ...]
    """The names of the classes, in the order of the logits; empty for a network without a head."""
    image_shape: tuple[int, ...]
    """(H, W, C) of the images that it was trained on; C may be 1 where mean and std have three numbers: gray images,
    which they turn into colors."""
    mean: tuple[float, ...]
    """Pixel mean by channel, 0 to 1, that normalization subtracts."""
    std: tuple[float, ...]
    """Standard deviation by channel, that normalization divides by."""
    named: bool = True
    """Whether `classes` are names. False for weights whose classes nobody named: `classes` are then the numbers of the
    outputs, "0" to "N-1", and match no other classes. Classes that a run calls "0", "1", ... are names."""
    value_range: tuple[float, float] | None = None
    """The gray values of more than 8 bits that are read as 0 and 255; None if its images had 8."""
    crop: float = 1.0
    """How much is read of a photograph's height and width, the largest center part of the images' aspect ratio being
    1."""
    interpolation: Interpolation = "bilinear"
    """How photographs are resized."""
    weights: Literal["raw", "ema"] | None = None
    """Which weights of a run that averaged them: the raw ones, or their moving averages; None where there is no such
    choice."""
    calibration: Calibration = dataclasses.field(default_factory=Calibration)
    """What makes its probabilities mean something."""

    def __post_init__(self) -> None:
        shape, mean, std = self.image_shape, self.mean, self.std
        if len(shape) != 3 or shape[2] not in (1, len(mean)) or len(std) != len(mean):
            raise ValueError("image_shape, mean and std don't go together")
        if not all(1 <= n <= MAX_SIDE for n in shape):
            raise ValueError(f"image_shape must be numbers from 1 to {MAX_SIDE}, got {shape}")
        if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise ValueError(f"mean and std must be finite and std above 0, got {mean} and {std}")
        low, high = self.value_range or (0, 1)
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"value_range must be two numbers, the lower one first, got {self.value_range}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be above 0 and at most 1, got {self.crop}")

    @property
    def names(self) -> tuple[str, ...]:
        """The class names as `match_classes` takes them: empty if nobody named the classes."""
        return self.classes if self.named else ()

    def create(self, num_classes: int | None = None) -> models.Classifier:
        """The network's Linen module, for as many classes as it knows or another number; UserError for one of the
        user's own."""
        if self.module:
            raise UserError(
                f"the network is a {self.module} of the user's own: pass it, or name the preset that defines it, "
                "--config FILE.py"
            )
        return models.from_config(self.model, num_classes=len(self.classes) if num_classes is None else num_classes)

    @property
    def name(self) -> str:
        """What the network is, in a word."""
        return self.module or self.model.name

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON can write it, with the version of fcnn, without the fields that have their default."""
        values = with_version(_changed(self))
        if self.module:
            return values
        return values | {"model": {"name": self.model.name} | _changed(self.model)}

    @staticmethod
    def from_json(text: str, source: str) -> "NetworkInfo":
        """The text of what `to_dict` gives, made one again; UserError naming `source` if the text isn't that."""
        values = None
        try:
            values = parse_json(text, source)
            info = build(NetworkInfo, without_version(values), "")
            if not info.classes:
                raise ValueError("it has no classes")
            info.calibration.means(len(info.classes))
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{source}: {error}{newer(values)}") from None
        return info


def _changed(record: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass that don't have their default, nested ones as dicts of such fields."""
    fields, values = dataclasses.fields(record), {}
    for name, default, make in ((field.name, field.default, field.default_factory) for field in fields):
        value = getattr(record, name)
        if value != (default if make is dataclasses.MISSING else make()):
            values[name] = _changed(value) if dataclasses.is_dataclass(value) else value
    return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """Weights and what they are."""

    info: NetworkInfo
    variables: Mapping[str, Any]
    """{"params": ..., "batch_stats": ...} of float32 NumPy arrays."""
    notes: tuple[str, ...] = ()
    """Sentences about what was done to somebody else's file to read it."""
    module: nn.Module | None = None
    """The user's own Linen module that the weights are of; None for an architecture of fcnn's."""

    def create(self) -> nn.Module:
        """Returns the network's Linen module."""
        return self.module or self.info.create()


def write_network(path: str | Path, network: Network) -> None:
    """Writes a network as .safetensors: its arrays under torchvision's names, those of a user's own module under Flax's
    ("params/Dense_0/kernel"), the rest as an entry of the header."""
    info, path = network.info, Path(path)
    if info.module:
        flat = flatten_dict(dict(network.variables), sep="/")
        write_arrays(path, {name: np.asarray(array) for name, array in flat.items()}, json.dumps(info.to_dict()))
        return
    arrays = to_torch(info.model.name, network.variables, **models.config_fields(info.model))
    write_arrays(path, arrays, json.dumps(info.to_dict()))


def read_network(
    path: str | Path,
    model: ModelConfig | None = None,
    *,
    head: bool = True,
    ema: bool = True,
    module: nn.Module | None = None,
) -> Network:
    """The network in a file that `write_network` wrote, or in anyone's.

    Args:
      path: as for `read_arrays`.
      model: what the weights are of. It may be None for our own files, which say it themselves, and for those of
        others whose names and shapes are those of one architecture alone.
      head: whether it must have a head; a backbone without one has no classes and may start a training run.
      ema: whether to take averaged weights (EMA) where the file has both.
      module: the user's own Linen module, where the weights are of one.

    Raises:
      UserError: as for `read_arrays`, or it isn't clear what network the weights are of, or it isn't `model`.
    """
    path, notes = Path(path), list[str]()
    arrays, header = read_arrays(path, ema=ema, log=notes.append)
    if header is None:
        return _read_foreign(arrays, model, path, head, notes)
    info = NetworkInfo.from_json(header, f"the header of {path}")
    if info.module:
        variables = unflatten_dict(arrays, sep="/")
        return Network(info=info, variables={"params": {}, "batch_stats": {}} | variables, module=module)
    if model is not None:
        check_same(info.model, model, str(path))
    height, width, _ = info.image_shape
    shape, fields = (height, width, len(info.mean)), models.config_fields(info.model)
    variables = from_torch(info.model.name, arrays, image_shape=shape, **fields)
    if (outputs := variables["params"]["head"]["kernel"].shape[-1]) != len(info.classes):
        raise UserError(f"the header of {path} names {len(info.classes)} classes, and the network has {outputs}")
    return Network(info=info, variables=variables)


def _read_foreign(
    arrays: dict[str, np.ndarray], config: ModelConfig | None, path: Path, need_head: bool, notes: list[str]
) -> Network:
    """A network of somebody else's: with what timm's config beside it says, or else numbered classes and the
    preprocessing that such weights usually want."""
    beside = read_timm_config(path)
    if beside is not None and (config is None or config.name == beside.model.name):
        own = {} if config is None else config.options
        config = dataclasses.replace(config or beside.model, options=beside.model.options | own)
    if config is None:
        config = ModelConfig(name=_recognize(arrays, path))
        notes.append(f"By its names and shapes it is {config.name}.")
    model = models.from_config(config, num_classes=1)
    renamed, left_out = plain_names(arrays, model)
    if left_out:
        notes.append(f"The names of its arrays are read without {left_out}.")
    if options := unsaid_options(arrays, renamed, model, config.options):
        values = ", ".join(f"{name} {getattr(model, name)}" for name in options)
        notes.append(
            f"Its names don't say with which {' and '.join(options)} it was trained: {values} assumed; fcnn convert "
            f"--model {config.name} --options.{options[0]} takes another."
        )
    if model.aux_heads and not any(is_auxiliary(model, name) for name in renamed):  # as timm has them
        config = dataclasses.replace(config, options={"auxiliary": False} | config.options)
    height, width, channels = model.image_shape
    if (shape := (height, width, input_channels(model, renamed))) != model.image_shape:
        notes.append(f"It is for images of {shape[2]} channel{'s' if shape[2] > 1 else ''}, not {channels}.")
    if whole := [name for name, x in renamed.items() if x.dtype.kind in "iub" and not name.endswith(COUNTER)]:
        raise UserError(f"{path}: {whole[0]} has whole numbers, as quantized networks have; weights are floats")
    layer = model.torch_name("head") + "."
    head = f"{layer}weight" in renamed
    body = [key for key in torch_shapes(model) if not key.startswith(layer) and not is_auxiliary(model, key)]
    backbone = not head and all(key in renamed for key in body)
    try:
        fields = models.config_fields(config)
        variables = from_torch(config.name, renamed, image_shape=shape, head=not backbone, **fields)
    except UserError as error:
        others = fitting(arrays)
        if not others or config.name in others:
            raise UserError(f"{path}: {error}") from None
        raise UserError(f"{path}: these weights fit {' or '.join(others)}, not {config.name}") from None
    if need_head and not head:
        raise UserError(
            f"{path} holds {config.name} without its head, which names no class: it can start a training run "
            "(fcnn train --transfer.weights), and nothing else"
        )
    mean, std = model.preprocessing() if shape[2] == 3 else ((0.5,) * shape[2],) * 2
    classes = tuple(map(str, range(len(renamed[f"{layer}weight"])))) if head else ()
    info = NetworkInfo(model=config, classes=classes, image_shape=shape, mean=mean, std=std, named=False)
    if beside is None or beside.channels != shape[2]:
        notes.append(preprocessing_note(info))
    else:
        info = dataclasses.replace(info, **beside.fields(len(classes)))
        notes += beside.notes
    return Network(info=info, variables=variables, notes=tuple(notes))


def preprocessing_note(info: NetworkInfo, said: Collection[str] = ()) -> str:
    """Returns a sentence on how images are prepared for a network whose file doesn't say it; "" if all was said.

    Args:
      said: the fields of `NetworkInfo` that were.
    """
    height, width, _ = info.image_shape
    mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (info.mean, info.std))
    values = {
        "image_shape": f"{height} x {width} pixels",
        "mean": f"mean {mean}, standard deviation {std}",
        "crop": f"{100 * info.crop:.3g} % of a photograph's height and width",
        "interpolation": f"{info.interpolation} resizing",
    }
    assumed = ", ".join(text for name, text in values.items() if name not in said)
    return assumed and f"It doesn't say how images are prepared; assumed: {assumed}."


def _recognize(arrays: dict[str, np.ndarray], path: Path) -> str:
    """The one architecture that arrays are of; UserError if there is none or more than one."""
    names = fitting(arrays)
    if len(names) == 1:
        return names[0]
    reason = f"fits {' and '.join(names)}" if names else "doesn't say which network it is of"
    raise UserError(f"{path} {reason}: choose one with --model NAME (in fcnn train --model.name NAME)")


def linear_head(model: ModelConfig) -> bool:
    """Whether the head is the linear one that an architecture has beside its published one, with the same arrays."""
    return model.options.get("linear_head") is True


def published(model: ModelConfig) -> ModelConfig:
    """The network with the head that it was published with."""
    return dataclasses.replace(model, options={k: v for k, v in model.options.items() if k != "linear_head"})


def check_same(actual: ModelConfig, expected: ModelConfig, source: str) -> None:
    """UserError, naming the fields that differ, unless weights of one are weights of the other, but for the head."""
    fields = [dataclasses.asdict(published(model)) for model in (actual, expected)]
    a, b = (of | {"options": {k: v for k, v in of["options"].items() if k not in models.TRAINING}} for of in fields)
    changed = [name for name in a if name not in models.TRAINING and a[name] != b[name]]
    if changed:
        differences = [f"model.{name.replace('_', '-')} {a[name]}, not {b[name]}" for name in changed]
        raise UserError(f"the network in {source} has {'; '.join(differences)}")
