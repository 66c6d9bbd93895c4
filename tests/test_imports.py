"""The import rule: a file imports only what stands to its left, so that the package can be read in one direction."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fcnn"

# What stands between two arrows does not import one another.
ORDER = [
    ["errors", "names", "checks", "memory", "streams"],
    ["config", "batch", "files", "interrupt"],
    ["config_json", "presets", "zoo", "nn", "data", "augment", "optim", "metrics"],
    ["models", "threads"],
    ["weights"],
    ["transfer", "state"],
    ["step"],
    ["parallel"],
    ["checkpoint", "feed", "report", "workdir", "processes"],
    ["pretrained"],
    ["meter", "experiment"],
    ["features", "answers"],
    ["auto", "run"],
    ["photos", "loop"],
    ["export"],
    ["predict", "study", "sanity"],
    ["bench", "plan", "search", "show", "claims", "evaluate"],
    ["cli"],
]
STANDARD_LIBRARY_ONLY = ["errors", "names", "checks", "memory", "config", "config_json", "presets"]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def unit(path: Path) -> str:
    """The place of a file in ORDER: "loop" for fcnn/loop.py, "data" for fcnn/data/batch.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if unit(path) not in ("__init__", "__main__", "configs")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_the_left(path):
    here = unit(path)
    assert here in LEVEL, f"{here} has no place in ORDER"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "fcnn" or parts[1] in ("__version__", here):
            continue
        assert LEVEL[parts[1]] < LEVEL[here], f"{here} imports {name}"


def test_no_part_imports_its_own_package():
    """`from fcnn import models` inside fcnn/models would run in a circle."""
    assert [path for path in FILES if f"fcnn.{unit(path)}" in imported(path)] == []


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_what_answers_a_typo_needs_no_library(name):
    import sys

    roots = {part.split(".")[0] for part in imported(PACKAGE / f"{name}.py")}
    assert roots <= set(sys.stdlib_module_names) | {"fcnn"}


def test_the_readme_shows_this_order():
    (shown,) = re.findall(r"\n\n((?:    .*→.*\n(?:    .*\n)*))\n", (PACKAGE.parent / "README.md").read_text())
    assert [level.split(", ") for level in " ".join(shown.split()).split(" → ")] == ORDER
