"""Pages of source code: a link to a file of the repository that is no page of the site leads to its text here, and so
does "[source]" beside a function or class."""

import html
import importlib
import inspect
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[2]
LANGUAGES = {".py": "python", ".md": "markdown"}


class SourceLinks(SphinxTransform):
    """Replaces what MyST makes of such links: a download, or a reference to a document that isn't there."""

    default_priority = 100

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(addnodes.download_reference)):
            self.replace(node, self.env.relfn2path(node["reftarget"], self.env.docname)[0])
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("refdomain") == "doc":
                if node["reftarget"] not in self.env.found_docs:
                    self.replace(node, node["reftarget"] + ".md")
                elif re.fullmatch(r"\S+\.(md|rst)", node.astext()):  # a code host shows the file, the site its title
                    node["refexplicit"] = False

    def replace(self, node: nodes.Element, name: str) -> None:
        if (ROOT / name).is_file():
            uri = address(self.env, name)
            node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def address(env: BuildEnvironment, name: str) -> str:
    """Returns the address of a file's page, relative to the document that is read, and notes that it is wanted."""
    env.metadata[env.docname].setdefault("sources", {})[name] = True
    return "../" * env.docname.count("/") + f"source/{name}.html"


def add_source_links(app: Sphinx, doctree: nodes.document) -> None:
    """Adds "[source]" to the signatures of functions and classes."""
    for signature in doctree.findall(addnodes.desc_signature):
        if (place := _place(signature.get("module"), signature.get("fullname"))) is not None:
            name, line = place
            text = nodes.inline("", "[source]", classes=["viewcode-link"])
            signature += nodes.reference("", "", text, refuri=f"{address(app.env, name)}#L-{line}", internal=True)


def _place(module: str | None, fullname: str | None) -> tuple[str, int] | None:
    """Returns the file and the line of a function or class of fcnn's; None of anything else."""
    if not module or not fullname:
        return None
    try:
        item = inspect.unwrap(operator.attrgetter(fullname)(importlib.import_module(module)))
        return str(Path(inspect.getfile(item)).relative_to(ROOT)), inspect.getsourcelines(item)[1]
    except (AttributeError, TypeError, ValueError):  # a field, a constant, another package's
        return None


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yields the pages of all files that are linked to."""
    builder: Any = app.builder  # of HTML
    for name in sorted({name for data in app.env.metadata.values() for name in data.get("sources", ())}):
        language = LANGUAGES.get(Path(name).suffix, "text")
        text = (ROOT / name).read_text()
        body = builder.highlighter.highlight_block(text, language, lineanchors="L")
        yield f"source/{name}", {"title": name, "body": f"<h1>{html.escape(name)}</h1>{body}"}, "page.html"
