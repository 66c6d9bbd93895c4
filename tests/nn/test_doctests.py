import doctest
import importlib
import pkgutil

import pytest

import fcnn.nn

pytestmark = pytest.mark.usefixtures("unoptimized")

MODULES = [f"fcnn.nn.{module.name}" for module in pkgutil.iter_modules(fcnn.nn.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_docstrings_run(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_every_public_function_and_layer_has_an_example():
    for name in fcnn.nn.__all__:
        thing = getattr(fcnn.nn, name)
        if callable(thing) and name != "ReceptiveField":
            assert ">>> " in (thing.__doc__ or ""), name
