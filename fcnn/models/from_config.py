"""From the model's part of a config to the Linen module that it describes."""

import dataclasses
import json
import typing
from typing import Any

from fcnn.config import ModelConfig
from fcnn.config.serialize import fits
from fcnn.models.classifier import Classifier
from fcnn.models.table import create, family, options
from fcnn.utils.errors import UserError, unknown


def from_config(config: ModelConfig, *, num_classes: int, dtype: Any = None) -> Classifier:
    """Makes the architecture that a config names, with its fields.

    Raises:
      UserError: the architecture has no such option, or the option no such value.
    """
    fields = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    name, own = fields.pop("name"), {key: _from_word(word) for key, word in fields.pop("options").items()}
    known, hints = options(name), typing.get_type_hints(family(name))
    for option, value in own.items():
        if not known:
            raise UserError(f"{name} has no model.options, got {option!r}")
        if option not in known:
            raise UserError(unknown(f"option of {name}", option, known))
        if not fits(value, hints[option]):
            words = " or ".join(map(str, typing.get_args(hints[option]))) or hints[option].__name__
            kind = "whole numbers as in [256,128]" if typing.get_origin(hints[option]) is tuple else words
            raise UserError(f"model.options {option} must be {kind}, got {config.options[option]}")
        if isinstance(value, tuple) and min(value, default=1) < 1:
            raise UserError(f"model.options {option} must be numbers from 1, got {config.options[option]}")
    return create(name, num_classes=num_classes, dtype=dtype, **fields, **own)


def _from_word(word: str) -> Any:
    """An option's value from JSON, lists as tuples; what isn't JSON is a bare word."""
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return tuple(value) if isinstance(value, list) else value
