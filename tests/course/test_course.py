"""The notebooks of docs/course as they are stored; with `-m slow` each runs, with the code of its answers."""

import itertools
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from harness import ROOT

COURSE = ROOT / "docs/course"
CHAPTERS = sorted(COURSE.glob("*.ipynb"))
ANSWER = re.compile(r"^<details><summary>Answer</summary>\n\n.+?\n\n</details>$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def path(request) -> Path:
    """Each chapter."""
    return request.param


def read(path: Path) -> Any:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    return book


def words(path: Path) -> str:
    """Returns the text between the code."""
    return "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def with_answers(book: Any) -> Any:
    """Adds a cell with the code of each answer behind the exercise."""
    cells = []
    for cell in book.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cells += [nbformat.v4.new_code_cell(code) for code in CODE.findall(cell.source)]
    return nbformat.from_dict({**book, "cells": cells})


def test_only_pictures_are_stored(path):
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert cell.execution_count is None
            assert all(list(output.data) == ["image/png"] for output in cell.outputs), cell.id


def test_the_pictures_are_small():
    assert sum(path.stat().st_size for path in CHAPTERS) < 1_500_000


def test_every_picture_has_a_caption(path):
    cells = read(path).cells
    below = [after.source for cell, after in itertools.pairwise(cells) if cell.get("outputs")]
    numbers = [re.match(r"\*Figure (\d\.\d+)\. ", text) for text in below]
    assert [number and number[1] for number in numbers] == [f"{path.stem[0]}.{i + 1}" for i in range(len(below))]
    assert len(below) >= 5


def test_every_exercise_has_an_answer(path):
    _, _, exercises = words(path).partition("## Exercises\n")
    numbers = re.findall(r"^\*\*(\d)\.\*\* ", exercises, re.MULTILINE)
    answers = ANSWER.findall(exercises)
    assert numbers == [str(i + 1) for i in range(len(answers))]
    assert len(answers) >= 4


def test_links_lead_somewhere(path):
    for page, anchor in re.findall(r"\]\((?!http)([^)#]+)(?:#([^)]+))?\)", CODE.sub("", words(path))):
        assert (COURSE / page).exists(), page
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (COURSE / page).read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_index_has_every_chapter():
    assert re.findall(r"\]\(([^)]+\.ipynb)\)", (COURSE / "README.md").read_text()) == [path.name for path in CHAPTERS]


@pytest.mark.slow
def test_it_runs(path, tmp_path):
    from nbclient import NotebookClient

    book = with_answers(read(path))
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # one device, as a reader has
    env["TF_CPP_MIN_LOG_LEVEL"] = "3"  # XLA reports a slow compilation, which a busy machine may have
    client = NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=env)
    printed = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert [output.text for output in printed if output.get("name") == "stderr"] == []
    assert any(output.output_type == "stream" for output in printed)
    assert any("image/png" in output.get("data", {}) for output in printed)
