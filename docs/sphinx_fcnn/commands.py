"""The commands and their options, from what `--help-all` prints."""

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from fcnn import cli
from fcnn.cli.completion import COMMANDS
from fcnn.config import Config

SECTIONS = tuple(field.name for field in dataclasses.fields(Config) if dataclasses.is_dataclass(field.type))
"""Of the config: groups of options that several commands have."""


class Commands(SphinxDirective):
    """`fcnn-commands`: a section for each command, with its options."""

    def run(self) -> list[nodes.Node]:
        text = "\n".join(line for words in commands() for line in _section(*words))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def commands() -> Iterator[list[str]]:
    """Yields the words of each command; those that follow a first one and have the same options as one, "step|eval"."""
    for name, kind in COMMANDS.items():
        parts: dict[Any, list[str]] = {}
        for part, options in kind.items() if isinstance(kind, Mapping) else ():
            parts.setdefault(options, []).append(part)
        yield from ([name, "|".join(words)] for words in parts.values()) if len(parts) > 1 else ([name],)


def help_of(*words: str) -> str:
    """Returns what `fcnn WORDS --help-all` prints, in one column of boxes."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with (
        mock.patch.dict(os.environ, COLUMNS="120", NO_COLOR="1"),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        cli.main([*words, "--help-all"])
    out.flush()
    return out.buffer.getvalue().decode()


def _section(*words: str) -> Iterator[str]:
    """Yields the lines of a command's section, as Markdown."""
    program = " ".join(["fcnn", *words])
    head, *boxes = help_of(*(word.partition("|")[0] for word in words)).split("╭─ ")
    usage, _, description = head.partition("\n")
    yield f"## {program}\n"
    yield description.strip() + "\n"
    yield f"```text\n{usage.removeprefix('usage: ')}\n```\n"
    yield f"```{{program}} {program}\n```\n"
    for group, about, options in map(_group, boxes):
        section = group.removesuffix(" options")
        if section.startswith(SECTIONS):
            if words != ("train",):
                yield f"`--{section}.*`: those of [fcnn train](#fcnn-train). {about}\n"
                continue
            yield f"### --{section}\n"
        yield about + "\n"
        for option, text in options:
            if option != "-h, --help":
                yield f"````{{option}} {option}\n{text}\n````\n"


def _group(box: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Returns the name of a box, the text at its top, if any, and its options, each with its text."""
    title, _, body = box.partition(" ─")
    lines = "\n".join(line[2:-2].rstrip() for line in body.splitlines() if line.startswith("│"))
    about, _, options = re.split(r"\n?(─{9,}\n)", lines) if "\n───" in lines else ("", "", lines)
    return title, " ".join(about.split()), [_entry(entry) for entry in re.split(r"\n(?=\S)", options)]


def _entry(entry: str) -> tuple[str, str]:
    """Returns an option with its values, and its text on one line."""
    option, text = re.split(r"\n|  +", entry, maxsplit=1)
    return option, re.sub(r"\(default: (.*)\)$", r"(default: `\1`)", " ".join(text.split()))
