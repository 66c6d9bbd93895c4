"""The import rule: a folder imports only from lower levels, so that the package can be read in one direction."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fcnn"

# The folders, level by level: those of one level don't import one another.
LEVELS = [
    ["utils"],
    ["registry"],
    ["config", "nn", "calibration"],
    ["runtime", "report", "zoo"],
    ["models", "distributed"],
    ["data", "weights"],
    ["augment"],
    ["training"],
    ["transfer", "inference", "search"],
    ["analysis", "bench", "doctor"],
    ["studies"],
    ["api"],
    ["cli"],
]
STANDARD_LIBRARY_ONLY = [
    "registry",
    "utils/errors",
    "runtime/memory",
    "zoo/table",
    *(f"config/{p.stem}" for p in (PACKAGE / "config").glob("*.py")),
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


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
    """The folder of a file: "data" for fcnn/data/batch.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if unit(path) not in ("__init__", "__main__", "configs")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_lower_levels(path):
    here = unit(path)
    assert here in LEVEL, f"{here} has no level"
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
