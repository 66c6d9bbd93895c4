"""What is public, and whether it is documented. Without Sphinx, so that tests can ask, too."""

import ast
import importlib
import inspect
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def modules() -> list[str]:
    """Returns the packages that say what is public in them, by `__all__`."""
    files = sorted((ROOT / "fcnn").rglob("__init__.py"))
    return [".".join(file.parent.relative_to(ROOT).parts) for file in files if "\n__all__ = " in file.read_text()]


def names() -> list[str]:
    """Returns the public names in full: those in an `__all__`, and those that an example in the documentation imports."""
    exported = {f"{module}.{name}" for module in modules() for name in importlib.import_module(module).__all__}
    return sorted(exported | set(_imported()))


def _imported() -> Iterator[str]:
    for page in [ROOT / "README.md", ROOT / "TPU.md", *(ROOT / "docs").glob("*.md")]:
        for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            for node in ast.walk(ast.parse(example)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fcnn."):
                    yield from (f"{node.module}.{alias.name}" for alias in node.names)


def problems(documented: Container[str]) -> list[str]:
    """Returns a line for each public name that isn't on a page or has no docstring.

    Args:
      documented: what is on a page, by its name in full. One of several names of a thing is enough.
    """
    items = {name: item(name) for name in names()}
    on_pages = {id(thing) for name, thing in items.items() if name in documented}
    missing = [f"{name} is public, but on no page" for name, thing in items.items() if id(thing) not in on_pages]
    silent = [f"{name}{part} has no docstring" for name, thing in items.items() for part in _without_docstring(thing)]
    return missing + silent


def item(name: str) -> Any:
    """Returns what has a name in full."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _without_docstring(thing: Any) -> Iterator[str]:
    """Yields "" for a function or class without a docstring, and ".METHOD" for each such method of its own."""
    if inspect.isroutine(thing) or inspect.isclass(thing):
        if not thing.__doc__ or thing.__doc__.startswith(f"{thing.__name__}("):  # what a dataclass has by itself
            yield ""
        for name, member in vars(thing).items() if inspect.isclass(thing) else ():
            function = member.fget if isinstance(member, property) else member
            if not name.startswith("_") and inspect.isroutine(function) and not function.__doc__:
                yield f".{name}"
