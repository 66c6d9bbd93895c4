"""Docstrings of the constants and type aliases that a package takes from one of its files, where autodoc sees none."""

import ast
import importlib
import inspect

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from sphinx_fcnn.public import modules


def document(app: Sphinx) -> None:
    """Hands autodoc the docstrings as if they stood in the packages."""
    for module in modules():
        package = importlib.import_module(module)
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        for node in ast.walk(ast.parse(inspect.getsource(package))):
            if isinstance(node, ast.ImportFrom) and node.module:
                texts = ModuleAnalyzer.for_module(node.module).find_attr_docs()
                for key in {("", alias.name) for alias in node.names} & texts.keys():
                    analyzer.attr_docs[key] = [*texts[key], ":meta hide-value:", ""]
