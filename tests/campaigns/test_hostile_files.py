"""A few of the campaign's files: see hostile_files.py."""

import json
import random
from pathlib import Path

import _damage
import _hostile
import pytest
from hostile_files import case, kind_of

QUICK = ("mnist", "cifar", "torch", "other weights")
"""Kinds that need no run and no export."""


def check(numbers: list[int], folder: Path) -> None:
    lost = {}
    for number in numbers:
        (folder / f"{number}").mkdir()
        what, fault = case(number, folder / f"{number}")
        if fault is not None:
            lost[number] = what, fault
    assert not lost


def test_hostile_files_are_answered_in_a_line(tmp_path):
    check([number for number in range(25) if kind_of(number) in QUICK], tmp_path)


@pytest.mark.slow
def test_hostile_files_of_all_kinds_are_answered_in_a_line(tmp_path):
    check(list(range(25, 125)), tmp_path)


def test_a_case_depends_on_its_number_alone(tmp_path):
    """Whatever cases came before it: what they were given to damage is their own."""

    def cases() -> list[bytes]:
        made, path = list[bytes](), tmp_path / "a.json"
        for number in range(100):
            made.append(_hostile.damaged_json(random.Random(number), '{"a": {"b": []}}'))
            path.write_text(json.dumps({"a": {"b": {}}, "c": 1}))
            _damage.change_json(path, random.Random(number))
            made.append(path.read_bytes())
        return made

    assert cases() == cases()
