"""What is searched: fields of the config, each with a range or choices, checked before anything starts.

    optim.learning-rate=log:0.01:1      between 0.01 and 1, evenly on a logarithmic scale
    model.dropout=0:0.5                 evenly between 0 and 0.5; of a whole-numbered field whole numbers
    optim.learning-rate=log:0.01:1:5    the same for a grid: 5 points
    optim.name=sgd,adam                 one of these

Standard library only, for a quick answer to a typo.
"""

import dataclasses
import itertools
import math
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from fcnn.config import Config
from fcnn.config.serialize import fits
from fcnn.utils.errors import UserError, unknown

SAME_IMAGES = ("data.name", "data.manual_dir", "data.val_fraction", "data.split_seed", "data.test_fraction")
"""Fields that decide which images trials are compared on, and so can't be searched."""
COMBINATIONS = 4096
"""Largest number of combinations, of the ends of ranges and of choices, that are checked."""
DIGITS = 3
"""Significant digits of a number that is drawn."""
WORDS = {"true": True, "false": False, "none": None}


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A field and its values."""

    field: str
    """Its dotted name, as in `flatten`."""
    text: str
    """As on the command line."""
    choices: tuple[Any, ...] = ()
    """If there are any, the rest has no meaning."""
    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False
    points: int | None = None
    """Of a grid."""

    @property
    def option(self) -> str:
        """The field as it is typed."""
        return self.field.replace("_", "-")

    def ends(self) -> tuple[Any, ...]:
        """Returns the values that must be valid for all between them to be."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: Any) -> Any:
        """Returns the value that an Optuna trial draws."""
        if self.choices:
            return trial.suggest_categorical(self.field, self.choices)
        if self.whole:
            return trial.suggest_int(self.field, int(self.low), int(self.high), log=self.log)
        return rounded(trial.suggest_float(self.field, self.low, self.high, log=self.log))

    def grid(self) -> tuple[Any, ...]:
        """Returns all values of a grid; UserError if it is a range without a number of points."""
        if self.choices:
            return self.choices
        if self.points is None:
            raise UserError(f"--sampler grid needs the number of points: --over {self.option}={self.text}:POINTS")
        shares = [i / (self.points - 1) for i in range(self.points)]
        if self.log:
            values = [self.low * (self.high / self.low) ** share for share in shares]
        else:
            values = [self.low + (self.high - self.low) * share for share in shares]
        return tuple(dict.fromkeys(round(v) if self.whole else rounded(v) for v in values))


def rounded(value: float) -> float:
    """Returns a number with DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}")


def default_space(config: Config) -> list[Dimension]:
    """Returns the learning rate, from a thirtieth of the config's to ten times it, and weight decay."""
    rate = config.optim.learning_rate
    texts = (
        f"optim.learning-rate=log:{rounded(rate / 30):g}:{rounded(rate * 10):g}",
        "optim.weight-decay=log:1e-5:0.1",
    )
    return parse_space(texts, config)


def parse_space(texts: Sequence[str], config: Config) -> list[Dimension]:
    """Reads `FIELD=SPACE` texts.

    Raises:
      UserError: a field that there isn't or that can't be searched, values of another type, or values that the config
        refuses, alone or together.
    """
    space = [_dimension(text) for text in texts]
    for dimension, others in ((d, [o.field for o in space if o is not d]) for d in space):
        if dimension.field in others:
            raise UserError(f"--over names {dimension.option} twice")
    for values in itertools.islice(itertools.product(*(d.ends() for d in space)), COMBINATIONS):
        try:
            replaced(config, dict(zip((d.field for d in space), values, strict=True)))
        except ValueError as error:
            combination = ", ".join(f"{d.option} {value}" for d, value in zip(space, values, strict=True))
            raise UserError(f"--over: {error} (with {combination})") from None
    return space


def replaced(config: Config, values: dict[str, Any]) -> Config:
    """Returns the config with some fields, by dotted name, changed; ValueError if it is not valid."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        part, _, field = name.rpartition(".")
        parts.setdefault(part, {})[field] = value
    changed = parts.pop("", {})
    for part, fields in parts.items():
        changed[part] = dataclasses.replace(getattr(config, part), **fields)
    return dataclasses.replace(config, **changed)


def _dimension(text: str) -> Dimension:
    name, _, values = text.partition("=")
    field = name.replace("-", "_")
    if not values:
        raise UserError(f"--over {text}: it must look like optim.learning-rate=log:0.01:1 or optim.name=sgd,adam")
    known = _fields()
    if field not in known:
        raise UserError(unknown("field", name, (n.replace("_", "-") for n in known)))
    if field in SAME_IMAGES:
        raise UserError(f"--over {name}: trials are compared by the same images, so it can't be searched")
    hint = known[field]
    if ":" not in values:
        return Dimension(field, values, choices=tuple(_value(word, hint, name) for word in values.split(",")))
    return _range(name, field, values, hint)


def _range(name: str, field: str, text: str, hint: Any) -> Dimension:
    log, words = text.startswith("log:"), text.removeprefix("log:").split(":")
    whole = fits(1, hint) and not fits(0.5, hint)
    if not fits(1, hint) or fits(True, hint):
        raise UserError(f"--over {name}: it isn't a number; give choices, {name}=A,B")
    try:
        low, high = (int(word) if whole else float(word) for word in words[:2])
        points = int(words[2]) if len(words) == 3 else None
    except ValueError:
        kind = "whole numbers" if whole else "numbers"
        raise UserError(f"--over {name}={text}: a range is LOW:HIGH or log:LOW:HIGH, of {kind}") from None
    ok = len(words) in (2, 3) and math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not log)
    if not ok or (points is not None and points < 2):
        raise UserError(
            f"--over {name}={text}: a range needs LOW below HIGH, LOW above 0 with log:, and at least 2 points"
        )
    return Dimension(field, text, low=low, high=high, log=log, whole=whole, points=points)


def _fields() -> dict[str, Any]:
    """Returns the type of every field that has a single value, by dotted name."""
    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(Config).items():
        inner = typing.get_type_hints(hint).items() if dataclasses.is_dataclass(hint) else ()
        fields |= {f"{name}.{key}": kind for key, kind in inner} or {name: hint}
    return {name: hint for name, hint in fields.items() if not _compound(hint)}


def _compound(hint: Any) -> bool:
    args: Iterable[Any] = (
        typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else [hint]
    )
    return any(typing.get_origin(arg) in (tuple, dict) for arg in args)


def _value(word: str, hint: Any, name: str) -> Any:
    """Returns a word as a value of a field; UserError if it has none such."""
    readings: list[Any] = [word]
    for read in (int, float):
        try:
            readings.append(read(word))
        except ValueError:
            continue
    if word.lower() in WORDS:
        readings.append(WORDS[word.lower()])
    for value in readings:
        if fits(value, hint):
            return value
    raise UserError(f"--over {name}: {word!r} is not a valid value")
