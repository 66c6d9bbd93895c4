"""A configuration as text and back, as options of the command line, and what differs between two."""

import dataclasses
import json
import reprlib
import types
import typing
from typing import Any, Literal

from fcnn.config.schema import Config
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.html import details, paragraph, table
from fcnn.utils.json_file import parse_json
from fcnn.utils.version import newer, with_version, without_version

# A resumed run may change these; any other difference is another run. A new length stretches the schedule, so the
# steps already taken keep the rates that they had, and those to come get the new schedule's.
MAY_CHANGE = frozenset(
    {
        "data.manual_dir",  # where the files lie, not what is in them
        "parallel.mode",  # the numbers are the same
        "train.epochs",
        "train.steps",
        "train.eval_batch_size",
        "train.log_steps",
        "train.checkpoint_steps",
        "train.max_to_keep",
        "train.keep_best",
        "transfer.compare",  # another run
    }
)


def to_json(config: Config) -> str:
    """The config as indented JSON, as it stands in a run's `config.json`."""
    return json.dumps(with_version(dataclasses.asdict(config)), indent=2) + "\n"


def from_json(text: str | bytes, source: str) -> Config:
    """The config that `to_json` wrote; UserError naming `source` if the text isn't one."""
    values = None
    try:
        values = parse_json(text, source)
        return build(Config, without_version(values), "")
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{source}: {error}{newer(values)}") from None


def build(cls: Any, values: Any, prefix: str) -> Any:
    """A dataclass from nested dicts, with every name and type checked; ValueError or TypeError says what is wrong."""
    if not isinstance(values, dict):
        raise ValueError(f"{prefix or 'a config'} must be an object of fields, got {reprlib.repr(values)}")
    hints = typing.get_type_hints(cls)
    for name in values.keys() - hints.keys():
        raise ValueError(unknown("field", prefix + name, (prefix + known for known in hints)))
    fields = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            fields[name] = build(hint, value, f"{prefix}{name}.")
        else:
            fields[name] = _immutable(value)
            if not fits(fields[name], hint):
                raise ValueError(f"{prefix}{name} has the wrong type: {reprlib.repr(value)}")
    return cls(**fields)


def check_types(config: Any, prefix: str = "") -> None:
    """Raises ValueError unless every field of a dataclass, which Python doesn't check, has its type."""
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not (type(value) is hint if dataclasses.is_dataclass(hint) else fits(value, hint)):
            raise ValueError(f"{prefix}{name} has the wrong type: {reprlib.repr(value)}")
        if dataclasses.is_dataclass(hint):
            check_types(value, f"{prefix}{name}.")


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value has a field's type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if origin in (tuple, list):
        return isinstance(value, origin) and all(fits(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, args[0]) and fits(v, args[1]) for k, v in value.items())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _immutable(value: Any) -> Any:
    """Returns what JSON read, with tuples in place of lists."""
    if isinstance(value, dict):
        return {name: _immutable(item) for name, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def flatten(config: Config) -> dict[str, Any]:
    """`{"optim.learning_rate": 0.1, ...}`: every field by its dotted name, the architecture's own options too."""

    def walk(values: dict[str, Any], prefix: str) -> dict[str, Any]:
        flat = {}
        for name, value in values.items():
            flat |= walk(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        return flat

    return walk(dataclasses.asdict(config), "")


def differences(before: Config, after: Config) -> list[str]:
    """One "name: before -> after" for each field that differs and isn't in MAY_CHANGE."""
    old, new = flatten(before), flatten(after)
    changed = [n for n in old | new if old.get(n) != new.get(n) and n not in MAY_CHANGE]
    return [f"{n.replace('_', '-')}: {old.get(n)} -> {new.get(n)}" for n in changed]


def options(before: Config, after: Config) -> list[str]:
    """The words that make one config of another on the command line."""
    old, words = flatten(before), []
    for name, value in flatten(after).items():
        option = f"--{name.replace('_', '-')}"
        if value == old.get(name):
            continue
        if isinstance(value, bool):
            part, _, field = option.rpartition(".")
            words.append(option if value else f"{part}.no-{field}")
        else:
            words += [option, *map(_word, value if isinstance(value, tuple) else (value,))]
    return words


def to_html(config: Config) -> str:
    """Returns a config as a notebook shows it: what differs from the defaults, and all of it on a click."""
    default, values = flatten(Config()), flatten(config)
    names = [name for name, value in values.items() if value != default.get(name)]
    changed = [(name, _word(values[name]), _word(default.get(name, ""))) for name in names]
    body = table(changed, ("field", "value", "default")) if changed else paragraph("The defaults.")
    return body + details("All fields", table((name, _word(value)) for name, value in values.items()))


def _word(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
