"""Architectures by name, and the Linen module that a config describes."""

import dataclasses
import fnmatch
import reprlib
import typing
from collections.abc import Mapping
from typing import Any

from fcnn import registry, zoo
from fcnn.config import ModelConfig
from fcnn.config.serialize import fits
from fcnn.config.validate import MOST
from fcnn.models.classifier import Classifier
from fcnn.utils.errors import UserError, unknown

TRAINING = frozenset({"dropout", "kernel_init", "layer_scale", "remat", "stochastic_depth", "zero_init"})
"""Fields that change training alone, not which function the weights compute."""
MAX_LAYERS = 100
"""Of an option that is a layer for each number: one of a million is a program that never ends to be traced."""
SHARES = frozenset({"momentum", "stochastic_depth"})
"""Options from 0 to less than 1; other numbers with a fraction are 0 or more."""


def names(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Returns the names of the architectures.

    Args:
      pattern: which ones, like "resnet*".
      pretrained: whether to return only those with weights in `fcnn.zoo.TABLE`.
    """
    known = {entry.model.name for entry in zoo.TABLE.values()} if pretrained else registry.MODELS
    return [name for name in fnmatch.filter(registry.MODELS, pattern) if name in known]


def create(name: str, *, num_classes: int, **fields: Any) -> Classifier:
    """Makes an architecture with `num_classes` outputs; `fields` are those of `Classifier` and of its own class.

        model = create("vgg11_bn", num_classes=10, hidden=(), width_multiplier=0.5)
        variables = model.init(key, images, train=False)      # {"params": ..., "batch_stats": ...}
        logits = model.apply(variables, images, train=False)  # images (B, H, W, C) -> (B, num_classes)

    Raises:
      UserError: no such name or field, or a field has no such value.
    """
    make = registry.load(registry.MODELS, name, "model")
    check_fields(name, fields)
    if not fits(num_classes, int) or num_classes < 1:
        raise UserError(f"num_classes must be a whole number from 1, got {num_classes!r}")
    return make(num_classes=num_classes, **fields)


def check_fields(name: str, fields: Mapping[str, Any]) -> None:
    """Raises UserError unless an architecture has these fields, with values that they can have."""
    own, common = options(name), {field.name for field in dataclasses.fields(ModelConfig)}
    known = {field.name for field in dataclasses.fields(typing.cast(Any, family(name)))} - {"parent", "name"}
    if absent := fields.keys() - known:
        raise UserError(unknown(f"field of {name}", min(absent), known))
    try:
        config = ModelConfig(
            name=name,
            **{field: fields[field] for field in fields.keys() & common},
            options={field: fields[field] for field in fields.keys() & own.keys() - common},
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    config_fields(config)


def family(name: str) -> type[Classifier]:
    """Returns the class of an architecture, with its paper, image shape and number of classes; UserError if unknown."""
    entry = registry.load(registry.MODELS, name, "model")
    return getattr(entry, "func", entry)


def preset_fields(name: str) -> dict[str, Any]:
    """Returns the fields that make this architecture of its class: {"stage_sizes": (1, 1, 2, 2, 2)} of vgg11."""
    return getattr(registry.load(registry.MODELS, name, "model"), "keywords", {})


def options(name: str) -> dict[str, Any]:
    """Returns the types of an architecture's own options: of the fields that its class has beyond `Classifier`'s and
    that the name doesn't set, those of `TRAINING` excepted."""
    common = {field.name for field in dataclasses.fields(typing.cast(Any, Classifier))}
    own: Any = family(name)
    types = typing.get_type_hints(own)
    known = common | preset_fields(name).keys() - TRAINING
    return {field.name: types[field.name] for field in dataclasses.fields(own) if field.name not in known}


def variants() -> list[list[str]]:
    """Returns all names; those that differ in numbers alone, such as depth and width, are together, the shallowest
    first."""
    groups: dict[Any, list[tuple[Any, str]]] = {}
    for name in registry.MODELS:
        fields = dict(sorted(preset_fields(name).items(), key=lambda field: (field[0] != "stage_sizes", field[0])))
        numbers = {key: _flat(value) for key, value in fields.items() if all(map(_is_number, _flat(value)))}
        size = [sum(value) for value in numbers.values()]
        others = frozenset((key, None if key in numbers else value) for key, value in fields.items())
        groups.setdefault((family(name), others), []).append((size, name))
    return [[name for _, name in sorted(group)] for group in groups.values()]


def _flat(value: Any) -> list[Any]:
    """Returns the entries of a tuple, and of the tuples in it; any other value as the only one."""
    return [entry for part in value for entry in _flat(part)] if isinstance(value, tuple) else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def from_config(config: ModelConfig, *, num_classes: int, dtype: Any = None) -> Classifier:
    """Makes the architecture that a config names; UserError as for `config_fields`."""
    return create(config.name, num_classes=num_classes, dtype=dtype, **config_fields(config))


def config_fields(config: ModelConfig) -> dict[str, Any]:
    """Returns the fields that a config gives its architecture, as `create` takes them.

    Raises:
      UserError: the architecture has no such option, or the option no such value.
    """
    fields = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    name, own, types = fields.pop("name"), fields.pop("options"), options(config.name)
    for option, value in own.items():
        if not types:
            raise UserError(f"{name} has no model.options, got {option!r}")
        if option not in types:
            raise UserError(unknown(f"option of {name}", option, types))
        if not fits(value, types[option]):
            raise UserError(f"model.options.{option} must be {_described(types[option])}, got {reprlib.repr(value)}")
        numbers = value if isinstance(value, tuple) else (value,)
        if len(numbers) > MAX_LAYERS or any(type(number) is int and number > MOST for number in numbers):
            raise UserError(f"model.options.{option} is too large: {reprlib.repr(value)}")
        if isinstance(value, tuple):
            if min(value, default=1) < 1:
                raise UserError(f"model.options.{option} must be numbers from 1, got {value}")
        elif types[option] is int and value < 1:
            raise UserError(f"model.options.{option} must be at least 1, got {value}")
        elif types[option] is float and not (0 <= value < 1 if option in SHARES else 0 <= value < float("inf")):
            less = " and less than 1" if option in SHARES else ""
            raise UserError(f"model.options.{option} must be at least 0{less}, got {value}")
    return fields | own


def _described(hint: Any) -> str:
    """Returns what a type allows, in words."""
    if typing.get_origin(hint) is tuple:
        return "whole numbers like (256, 128)"
    values = (True, False) if hint is bool else typing.get_args(hint)
    return " or ".join(map(repr, values)) or f"of type {hint.__name__}"
