"""The chosen architecture's own options on a command line, with the types of its fields: `--model.options.NAME`."""

import dataclasses
from typing import Annotated, Any

import tyro

from fcnn.config import Config
from fcnn.utils.errors import UserError, unknown

PREFIX = "--model.options."


def take_words(args: list[str], prefix: str = PREFIX) -> tuple[list[str], list[str]]:
    """Return the options that begin with a prefix, with their values, and the other arguments."""
    words, others, taken = [], [], False
    for arg in args:
        if arg.startswith("--"):
            taken = arg.startswith(prefix)
        (words if taken else others).append(arg)
    if prefix.rstrip(".") in (arg.partition("=")[0] for arg in others):
        raise UserError(f"{prefix.rstrip('.')} needs the name of an option: {prefix}NAME VALUE")
    return words, others


def options_type(model: str, values: dict[str, Any]) -> Any:
    """Return a dataclass of an architecture's own options, with these values and its own defaults."""
    from docstring_parser import parse_from_object

    from fcnn import models

    family: Any = models.family(model)
    texts = {text.arg_name: " ".join((text.description or "").split()) for text in parse_from_object(family).params}
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(family)} | values
    fields = [
        (name, Annotated[hint, tyro.conf.arg(help=texts.get(name, ""))], dataclasses.field(default=defaults[name]))
        for name, hint in models.options(model).items()
    ]
    return dataclasses.make_dataclass("Options", fields, kw_only=True, frozen=True)


def parse_options(model: str, words: list[str], program: str, prefix: str = PREFIX) -> dict[str, Any]:
    """Return the options of an architecture that words of a command line set.

    Raises:
      UserError: it has no such option, or the option no such value.
    """
    from fcnn.cli.parse import named_options, parse

    if not words:
        return {}
    kind = options_type(model, {})
    names = [field.name for field in dataclasses.fields(kind)]
    chosen = [name.removeprefix(prefix.removeprefix("--")) for name in sorted(named_options(words))]
    for name in chosen:
        if not names:
            raise UserError(f"{model} has no options of its own, got {prefix}{name}")
        if name not in names:
            raise UserError(unknown(f"option of {model}", name, names))
    for part in reversed(prefix.strip("-.").split(".")):
        kind = dataclasses.make_dataclass("Parts", [(part, kind)], kw_only=True)
    parsed = parse(kind, words, program)
    for part in prefix.strip("-.").split("."):
        parsed = getattr(parsed, part)
    return {name: getattr(parsed, name) for name in chosen}


def with_options(config: Config, preset: Config, words: list[str], program: str) -> Config:
    """Return a config with the options of its architecture that words of a command line set.

    Those of the preset that another architecture doesn't have are left out.
    """
    model, options = config.model, config.model.options
    if options and model.name != preset.model.name:
        from fcnn import models

        options = {name: value for name, value in options.items() if name in models.options(model.name)}
    options = options | parse_options(model.name, words, program)
    return dataclasses.replace(config, model=dataclasses.replace(model, options=options))
