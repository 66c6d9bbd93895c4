"""Formulas as MathML, which browsers draw themselves: a page needs neither MathJax nor a network."""

import html
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging


def visit_inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math-wrapper">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def mathml(node: nodes.TextElement, *, as_block: bool = False) -> str:
    """Returns a formula; with a warning, and so a failure of a strict build, its source if docutils can't read it."""
    source = node.astext()
    try:
        return tex2mathml(source.replace(r"\dots", r"\ldots"), as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s: %s", error, source, location=node)
        return html.escape(source)
