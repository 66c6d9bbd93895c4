"""From words on a command line to a dataclass, and from what was wrong with them to one line that says so."""

import contextlib
import dataclasses
import io
import re
import typing
from typing import Any

import tyro

from fcnn.cli.model_options import take_words, with_options
from fcnn.config import Config
from fcnn.config.serialize import flatten
from fcnn.utils.errors import UserError, unknown


def take_option(args: list[str], option: str) -> tuple[str | None, list[str]]:
    """The value of `option VALUE` or `option=VALUE`, and the other arguments."""
    for i, arg in enumerate(args):
        if arg == option:
            if i + 1 == len(args):
                raise UserError(f"{option} needs a value")
            return args[i + 1], args[:i] + args[i + 2 :]
        if arg.startswith(option + "="):
            return arg.removeprefix(option + "="), args[:i] + args[i + 1 :]
    return None, args


def named_options(args: list[str]) -> frozenset[str]:
    """Returns the fields that options of a command line name, like {"model.name", "train.epochs"}: a field that is
    named isn't left to its default, even where its value is the default's."""
    words = (arg.partition("=")[0].removeprefix("--").replace("-", "_") for arg in args if arg.startswith("--"))
    return frozenset(re.sub(r"(^|\.)no_(\w+)$", r"\1\2", word) for word in words)


def parse(kind: Any, args: list[str], program: str, **default: Any) -> Any:
    """tyro's parse, with its boxed complaints as a line."""
    words: list[str] = []
    if "config" in (hints := typing.get_type_hints(kind)) and hints["config"] is Config:
        words, args = take_words(args)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed, extra = tyro.cli(kind, args=args, prog=program, return_unknown_args=True, **default)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_one_line(complaint.getvalue())) from None
    if extra:
        word = extra[0].split("=")[0]
        if not word.startswith("-"):
            raise UserError(f"unexpected argument {word!r}; {program} --help tells the options")
        raise UserError(unknown("option", word, _options(kind)))
    if isinstance(config := getattr(parsed, "config", None), Config):
        _check_overridden(config, named_options(args))
        preset = getattr(default.get("default"), "config", config)
        parsed = dataclasses.replace(parsed, config=with_options(config, preset, words, program))
    return parsed


def _check_overridden(config: Config, named: frozenset[str]) -> None:
    """UserError if a length in epochs was named and one in steps overrides it."""
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


def _one_line(box: str) -> str:
    """The sentence inside one of tyro's boxes, in terms of what would have been right."""
    # A title or a top border, a rule, the sentence over some lines, another rule, hints; in Unicode or in ASCII.
    lines = [line.strip("│| ") for line in box.splitlines()]
    rules = [i for i, line in enumerate(lines) if line and set(line[:2] + line[-2:]) <= set("╭─╮╰╯-+")]
    sentence = lines[rules[0] + 1 : rules[1]] if len(rules) > 1 else lines
    text = " ".join(line for line in sentence if line)
    complaints = {"a number": "could not convert string to float", "a whole number": "invalid literal for"}
    for kind, complaint in complaints.items():
        if found := re.match(rf"Error parsing (--\S+): {complaint}.*: ('.*')$", text):
            return f"{found[1]} takes {kind}, got {found[2]}"
    return re.sub(r"^Error parsing ((config[\w.]*|data|augment): )?", "", text)


def _options(kind: Any) -> list[str]:
    """The options of a dataclass of arguments, as they are typed; a `Config` among them has one for each field."""
    names = []
    for name, hint in typing.get_type_hints(kind).items():
        if hint is Config:
            names += flatten(Config())
        elif dataclasses.is_dataclass(hint):
            names += [f"{name}.{field.name}" for field in dataclasses.fields(hint)]
        else:
            names.append(name)
    return [f"--{name.replace('_', '-')}" for name in names]
