"""The recipes of CONTRIBUTING.md, each done as written in a copy of the package, and its list of packages."""

import re
import shlex
import shutil

import pytest
from harness import ROOT
from test_imports import LEVELS

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^### (Add .*?)\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))
WHERE = r"^`(\S+)`(?: \(new\)|, (above|below) `([^`]+)`).*:"
STEP = re.compile(WHERE + r"\n\n```python\n((?:(?!```).*\n)*)```", re.MULTILINE)
"""A file, where in it, and the lines to write there."""


def apply(recipe, folder):
    """Does what a recipe says, and returns its commands."""
    steps = STEP.findall(recipe)
    assert len(steps) == recipe.count("```python")
    for name, place, anchor, code in steps:
        path = folder / name
        assert path.exists() == bool(place), f"{name} is {'missing' if place else 'not new'}"
        lines = path.read_text().splitlines(keepends=True) if place else []
        if place:
            (line,) = (i for i, line in enumerate(lines) if line.strip().startswith(anchor))
            lines.insert(line + (place == "below"), code)
        path.write_text("".join(lines) if place else code)
    return [line for block in re.findall(r"```bash\n(.*?)```", recipe, re.DOTALL) for line in block.splitlines()]


SLOW = [name for name, text in RECIPES.items() if "fcnn train" in text]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in RECIPES]
)
def test_a_recipe_works_as_written(name, tmp_path, fcnn):
    for part in ("fcnn", "configs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    commands = apply(RECIPES[name], tmp_path)
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "fcnn"
        result = fcnn(*arguments, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        assert result.stdout


def test_the_recipes_are_those_that_were_promised():
    assert [name.split()[-1] for name in RECIPES] == ["model", "augmentation", "optimizer", "set", "command"]


def test_the_list_of_packages_has_the_levels_of_the_import_test():
    (packages,) = re.findall(r"```text\n(cli .*?)```", PAGE, re.DOTALL)
    levels = [re.split(r" {3,}", line)[0].split("  ") for line in packages.splitlines()]
    assert [sorted(level) for level in levels] == [sorted(level) for level in reversed(LEVELS)]
