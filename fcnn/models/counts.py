"""How large the architectures are and how much they compute, counted once: tracing all of them takes minutes."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

from fcnn.models.create import create, family
from fcnn.models.summary import summarize

FILE = Path(__file__).with_suffix(".json")
"""{name: [parameters, multiply_adds]}, written by docs/make_models.py."""


class Counts(NamedTuple):
    """Of one image of the published size, for the published number of classes, without auxiliary heads."""

    parameters: int
    multiply_adds: int


def counts(name: str) -> Counts:
    """Returns an architecture's counts: from FILE, or counted now if it isn't in there. UserError if unknown."""
    return Counts(*_known()[name]) if name in _known() else count(name)


def count(name: str) -> Counts:
    """Counts an architecture's parameters and multiply-adds layer by layer."""
    rows = summarize(create(name, num_classes=family(name).classes))
    return Counts(sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows))


@functools.cache
def _known() -> dict[str, list[int]]:
    return json.loads(FILE.read_text(encoding="utf-8"))
