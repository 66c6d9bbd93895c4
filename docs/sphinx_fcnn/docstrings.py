"""Docstrings as reStructuredText: they are plain text with `code`, indented examples and sections like "Args:"."""

import ast
import dataclasses
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PYTHON, TEXT = ".. code-block:: python", ".. code-block:: text"
LINKED = re.compile(r"`(fcnn(\.\w+)+)(\(\))?`")
SECTIONS = {"Args": "Parameters", "Fields": "Fields", "Returns": "Returns", "Yields": "Yields", "Raises": "Raises"}
"""Sections, and what the site calls them."""
ITEM = re.compile(r"(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*): (.*)", re.DOTALL)
"""An entry of a section: names, and a text."""


def on_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrites the lines of a docstring."""
    lines[:] = [line for block in _blocks("\n".join(lines)) for line in (*_block(block).splitlines(), "")]


def on_signature(app: Sphinx, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, str] | None:
    """Leaves out the arguments of a dataclass: they are its fields, which are listed below."""
    return ("", "") if what == "class" and dataclasses.is_dataclass(obj) else None


def on_skip(app: Sphinx, what: str, name: str, obj: Any, *rest: Any) -> bool | None:
    """Leaves out a field whose default is a function: it would be shown as a method."""
    return True if what == "class" and inspect.isroutine(obj) and "." not in getattr(obj, "__qualname__", ".") else None


def on_missing(app: Sphinx, env: Any, node: nodes.Element, text: nodes.Element) -> nodes.Element | None:
    """Shows a name that is on no page as it is: another package's, or internal. One that doesn't exist is a warning."""
    if node.get("refdomain") != "py":
        return None
    try:
        pkgutil.resolve_name(node["reftarget"])
    except (ImportError, AttributeError, ValueError):
        return None
    return text


def _blocks(text: str) -> list[str]:
    """Splits at blank lines, but for those within a section or an example."""
    blocks: list[str] = []
    for paragraph in re.split(r"\n *\n", text.strip("\n")):
        before = blocks[-1] if blocks else ""
        if paragraph.startswith("  ") and (before.startswith("    ") or before.partition(":")[0] in SECTIONS):
            blocks[-1] += "\n\n" + paragraph
        else:
            blocks.append(paragraph)
    return blocks


def _block(block: str) -> str:
    """Returns a paragraph, a section or an example as reStructuredText."""
    head, _, body = block.partition("\n")
    if block.startswith(">>>"):
        return block
    if block.startswith("    "):
        return _code(textwrap.dedent(block))
    if head == "Example:":
        return _code(textwrap.dedent(body))
    if head.endswith(":") and head[:-1] in SECTIONS and body.startswith("  "):
        return f":{SECTIONS[head[:-1]]}:\n" + textwrap.indent(_section(head, textwrap.dedent(body)), "    ")
    return escape(block)


def _code(text: str) -> str:
    """Returns an example, highlighted if it is Python."""
    return f"{PYTHON if is_python(text) else TEXT}\n\n" + textwrap.indent(text, "    ")


def is_python(text: str) -> bool:
    """Returns whether an example is Python: a formula isn't."""
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def examples(docstring: str) -> list[str]:
    """Returns the examples of a docstring that are Python, but no doctests."""
    blocks = [_block(block) for block in _blocks(docstring)]
    return [textwrap.dedent(block.partition("\n\n")[2]) for block in blocks if block.startswith(PYTHON)]


def _section(head: str, body: str) -> str:
    entries = list(_entries(body)) if head in ("Args:", "Fields:", "Raises:") else []
    if not entries:
        return escape(body)
    return "\n".join(f"* **{escape(names)}** - {escape(text)}" for names, text in entries)


def _entries(body: str) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"\n(?=\S)", body):
        if (match := ITEM.fullmatch(entry)) is None:
            return
        yield match[1], " ".join(match[2].split())


def escape(text: str) -> str:
    """Returns plain text with `code` in which nothing else is markup; a name of fcnn's in full becomes a link."""
    parts = re.split(r"(`[^`]+`)", text)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = re.sub(r"([\\*|]|_\b)", r"\\\1", part)
        elif match := LINKED.fullmatch(part):
            parts[i] = f":py:obj:`{match[1]}`"
        else:
            parts[i] = f"`{part}`"
    return "".join(parts)
