"""Parse a command line into a dataclass, report its mistakes in one line, print `--help` and `--help-all`."""

import contextlib
import dataclasses
import os
import re
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn

import tyro
from docstring_parser import parse_from_object

from fcnn.cli.model_options import options_type, take_words, with_options
from fcnn.config import Config, ModelConfig, presets, schema
from fcnn.config.serialize import flatten
from fcnn.utils.errors import UserError, unknown

try:
    from tyro._errors import on_parse_error
except ImportError:  # it is private: a release without it prints its own messages
    on_parse_error = None

COMMON = {
    *("precision", "seed"),
    *("data.name", "data.image_size", "data.val_fraction"),
    *("augment.resized_crop", "augment.crop_padding", "augment.flip"),
    *("model.name", "train.epochs", "train.batch_size"),
    *("optim.name", "optim.learning_rate", "optim.schedule", "optim.weight_decay"),
    *("transfer.weights", "transfer.strategy"),
}
"""The fields of a config that `--help` shows; `--help-all` shows all."""
RARE = {"distributed", "coordinator", "num_processes", "process_id"}
"""A command's own options that `--help` leaves out."""
METAVARS: dict[Any, str] = {
    int | None: "INT",
    float | None: "FLOAT",
    str | None: "STR",
    tuple[float, ...] | None: "FLOAT ...",
    tuple[float, float] | None: "FLOAT FLOAT",
}
"""What the help shows for options that may be None, instead of tyro's `{None}|INT`."""


PresetFile = Annotated[str | None, tyro.conf.arg(name="config", metavar="FILE.py")]
"""The preset of a run with its own model or data set: code comes from the command line, never from a run's folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PresetArgs:
    """The options of a command that takes a preset: `--config`, and one for each field of its config."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: Annotated[str, tyro.conf.arg(name="config", metavar="NAME|FILE.py", help_behavior_hint="")]
    """A shipped preset by name, or a file that defines CONFIG."""


def take_option(args: list[str], option: str) -> tuple[str | None, list[str]]:
    """Return the value of `option VALUE` or `option=VALUE`, and the other arguments."""
    for i, arg in enumerate(args):
        if arg == option:
            if i + 1 == len(args):
                raise UserError(f"{option} needs a value")
            return args[i + 1], args[:i] + args[i + 2 :]
        if arg.startswith(option + "="):
            return arg.removeprefix(option + "="), args[:i] + args[i + 1 :]
    return None, args


def take_preset(args: list[str], program: str) -> tuple[str, Config, list[str]]:
    """Return the preset that `--config` names, its config, and the other arguments; the default config for --help.

    Raises:
      UserError: there is no `--config`, or no such preset.
    """
    name, rest = take_option(args, "--config")
    if name is not None:
        return name, presets.load_preset(name), rest
    if asks_for_help(args):
        return "NAME", Config(), rest
    example = args[0] if args and args[0] in presets.names() else "NAME"
    raise UserError(
        f"{program} needs a preset: {program} --config {example}, or --config FILE.py; "
        f"presets: {', '.join(presets.names())}"
    )


def asks_for_help(args: list[str]) -> bool:
    """Return whether a command line asks for help, short or whole."""
    return not {"-h", "--help", "--help-all"}.isdisjoint(args)


def named_options(args: list[str]) -> frozenset[str]:
    """Return the fields that options of a command line name, like {"model.name", "train.epochs"}: a field that is
    named isn't left to its default, even where its value is the default's."""
    words = (arg.partition("=")[0].removeprefix("--").replace("-", "_") for arg in args if arg.startswith("--"))
    return frozenset(re.sub(r"(^|\.)no_(\w+)$", r"\1\2", word) for word in words)


def parse(kind: Any, args: list[str], program: str, default: Any = None) -> Any:
    """Return the dataclass `kind` that a command line makes of its defaults, or of those of the instance `default`.

    Raises:
      UserError: an option or value is invalid; the message is one line.
      SystemExit: help was requested, and printed.
    """
    if asks_for_help(args):
        if default is not None:
            with contextlib.suppress(UserError):  # the values that hold are those of the other options
                default = parse(kind, [arg for arg in args if not asks_for_help([arg])], program, default)
        _print_help(kind, default, program, whole="--help-all" in args)
    words: list[str] = []
    if typing.get_type_hints(kind).get("config") is Config:
        words, args = take_words(args)

    def refuse(event: Any) -> None:
        if (message := _message(event, kind, program)) is not None:
            raise UserError(message)

    with on_parse_error(refuse) if on_parse_error else contextlib.nullcontext():
        try:
            parsed = tyro.cli(kind, args=args, prog=program, default=default)
        except ValueError as error:  # of a config whose parts don't go together, which tyro lets through
            raise UserError(str(error)) from None
    if isinstance(config := getattr(parsed, "config", None), Config):
        _check_overridden(config, named_options(args))
        preset = getattr(default, "config", config)
        parsed = dataclasses.replace(parsed, config=with_options(config, preset, words, program))
    return parsed


def _message(event: Any, kind: Any, program: str) -> str | None:
    """Return one of tyro's errors as a message that says what would be right; None if its kind is not known here."""
    argument = getattr(event, "argument", None)
    name = _shown(argument) if argument else ""
    match type(event).__name__:
        case "UnrecognizedArgs":
            word = event.tokens[0].split("=")[0]
            if word.startswith("-"):
                return unknown("option", word, _options(kind) or ["--help"])
            return f"unexpected argument {word!r}; see {program} --help"
        case "MissingArgs":
            names = ", ".join(_shown(missing.arg) for missing in event.missing_arguments)
            return f"{names} is required; see {program} --help"
        case "BadValue":
            return f"{name} needs a value"
        case "InvalidChoice":
            choices = ", ".join(sorted({*event.choices} - {"None"}))
            return f"{name} must be one of {choices}, got {event.value!r}"
        case "InstantiationFailure":
            if invalid := re.search(r"could not convert string to float: ('.*')", event.message):
                return f"{name} takes a number, got {invalid[1]}"
            if invalid := re.search(r"invalid literal for int\(\).*: ('.*')", event.message):
                return f"{name} takes a whole number, got {invalid[1]}"
            if argument and (
                mismatch := re.search(r"no type matching .* could be instantiated from \[(.*)\]", event.message)
            ):
                return f"{name} takes {METAVARS[argument.field.type]}, got {mismatch[1].replace(',', '')}"
            reason = event.message.splitlines()[0]
            return f"{name}: {reason}" if name else reason
    return None


def _shown(argument: Any) -> str:
    """Return an option, or what the help calls an argument without a name."""
    return argument.lowered.metavar if argument.is_positional() else argument.display_name()


def _check_overridden(config: Config, named: frozenset[str]) -> None:
    """Raise UserError if an option in epochs was passed and one in steps overrides it."""
    for part, epochs, steps in (
        ("train", "epochs", "steps"),
        ("train", "eval_epochs", "eval_steps"),
        ("optim", "warmup_epochs", "warmup_steps"),
    ):
        value = getattr(getattr(config, part), steps)
        if f"{part}.{epochs}" in named and value is not None:
            option, other = (f"--{part}.{name.replace('_', '-')}" for name in (epochs, steps))
            raise UserError(
                f"{option} has no effect: {other} {value} overrides it; leave one of them out ({other} None)"
            )


def _options(kind: Any) -> list[str]:
    """Return the options of a dataclass, as they are typed; a `Config` among them has one for each field."""
    names = []
    for name, hint in typing.get_type_hints(kind).items():
        if hint is Config:
            names += flatten(Config())
        elif dataclasses.is_dataclass(hint):
            names += [f"{name}.{field.name}" for field in dataclasses.fields(hint)]
        else:
            names.append(name)
    return [f"--{name.replace('_', '-')}" for name in names]


def _print_help(kind: Any, default: Any, program: str, *, whole: bool) -> NoReturn:
    """Print the options with the values that hold, and exit; without colors if NO_COLOR is set (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        getattr(tyro, "_experimental_options", {})["ansi_codes"] = False  # another release may have another way
    try:
        tyro.cli(help_type(kind, default, whole=whole), args=["--help"], prog=program)
    except SystemExit:
        if not whole and any(hint in vars(schema).values() for hint in typing.get_type_hints(kind).values()):
            print(f"These are the most common options. {program} --help-all shows all.")
        raise
    raise AssertionError("tyro exits after its help")


def help_type(
    kind: Any, default: Any, *, whole: bool, prefix: str = "", choices: Mapping[str, tuple[str, ...]] | None = None
) -> Any:
    """Return a dataclass like `kind` for tyro to print the help of: with the defaults of the instance `default`, texts
    without line breaks, and unless `whole`, only the COMMON fields of a config and no RARE options.

    Args:
      choices: for completion: the values of fields, by dotted name, in place of any text; the help is cut short.
    """
    bases = [base for base in reversed(kind.__mro__) if dataclasses.is_dataclass(base)]
    texts = {text.arg_name: text.description or "" for base in bases for text in parse_from_object(base).params}
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = []
    for field in dataclasses.fields(kind):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        inner, *marks = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
        is_config = kind.__module__.startswith("fcnn.config.")
        value: Any = getattr(default, field.name, None)
        if default is not None and kind is ModelConfig and field.name == "options" and whole:
            inner = options_type(default.name, value)
            source: dict[str, Any] = {"default": inner()}
        elif dataclasses.is_dataclass(inner):
            inside = "" if inner is Config else f"{name}."
            inner = help_type(inner, value, whole=whole, prefix=inside, choices=choices)
            source = {"default": inner()}
        elif default is not None:
            source = {"default_factory": lambda value=value: value}
        else:
            source = {"default": field.default, "default_factory": field.default_factory}
        if not dataclasses.is_dataclass(inner) and not whole:
            shown = name in COMMON if is_config else name not in RARE
            marks += [] if shown else [tyro.conf.Suppress]
        text: Any = {"help": " ".join(texts.get(field.name, "").split()), "metavar": METAVARS.get(inner)}
        if choices is not None:
            text |= {"help": re.split(r"[.;:(,] ?", text["help"])[0], "help_behavior_hint": ""}
            if inner is str and name in choices:
                inner, text["metavar"] = Literal[*choices[name]], "NAME"
        if not is_config and source.get("default", field.default) in (None, (), ""):
            text["help_behavior_hint"] = ""  # the text says what happens without the option
        for mark in (tyro.conf.arg(**text), *marks):
            inner = Annotated[inner, mark]
        fields.append((field.name, inner, dataclasses.field(**source)))
    return dataclasses.make_dataclass(
        kind.__name__, fields, kw_only=True, frozen=True, namespace={"__doc__": kind.__doc__}
    )
