import doctest
import importlib
import pkgutil

import pytest

import fcnn.nn
import fcnn.nn.teaching

pytestmark = pytest.mark.usefixtures("unoptimized")

PACKAGES = (fcnn.nn, fcnn.nn.teaching)
MODULES = [
    f"{package.__name__}.{module.name}" for package in PACKAGES for module in pkgutil.iter_modules(package.__path__)
]
WITHOUT = {"fcnn.nn.geometry", "fcnn.nn.teaching"}
"""What has no example."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_docstrings_run(name):
    results = doctest.testmod(importlib.import_module(name))
    assert (results.attempted > 0) == (name not in WITHOUT)
    assert results.failed == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_and_layer_has_an_example(package):
    for name in package.__all__:
        thing = getattr(package, name)
        if callable(thing) and name not in ("Layer", "ReceptiveField"):
            assert ">>> " in (thing.__doc__ or ""), name
