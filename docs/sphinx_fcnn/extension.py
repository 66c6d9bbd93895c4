"""The Sphinx extension: what happens when, while the site is built."""

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

from sphinx_fcnn import constants, public
from sphinx_fcnn.commands import Commands
from sphinx_fcnn.docstrings import on_docstring, on_missing, on_signature, on_skip
from sphinx_fcnn.mathml import visit_block, visit_inline
from sphinx_fcnn.sources import SourceLinks, add_source_links, pages

CONTENTS = Path(__file__).with_name("contents.md")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("fcnn-commands", Commands)
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.add_transform(SourceLinks)
    app.connect("builder-inited", constants.document)
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", on_docstring)
    app.connect("autodoc-process-signature", on_signature)
    app.connect("autodoc-skip-member", on_skip)
    app.connect("missing-reference", on_missing)
    app.connect("doctree-read", add_source_links)
    app.connect("env-check-consistency", check_public_names)
    app.connect("html-collect-pages", pages)
    app.connect("build-finished", copy_index)
    return {"version": "1"}


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Adds the table of contents to the README, of which a code host would show the commands."""
    if docname == app.config.root_doc:
        source[0] += "\n" + CONTENTS.read_text()


def check_public_names(app: Sphinx, env: Any) -> None:
    """Warns, and so fails a strict build, of a public name that isn't documented."""
    for problem in public.problems(env.domains.python_domain.objects):
        logging.getLogger(__name__).warning(problem)


def copy_index(app: Sphinx, exception: Exception | None) -> None:
    """Makes the README what a server shows of the site's folder."""
    if exception is None and app.builder.format == "html":
        shutil.copy(app.outdir / f"{app.config.root_doc}.html", app.outdir / "index.html")
