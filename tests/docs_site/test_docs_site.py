"""The documentation site: it builds strictly, and what should fail its build does."""

import dataclasses
import html
import re
import shlex
import sys
import textwrap
import types

import pytest
from harness import ROOT

import fcnn as fcnn_package
from fcnn import cli
from fcnn.config import Config
from fcnn.config.serialize import flatten

sys.path.insert(0, str(ROOT / "docs"))
from sphinx_fcnn import public


class Everything:
    def __contains__(self, name: str) -> bool:
        return True


@pytest.fixture
def planted(monkeypatch):
    """Makes things public, as `planted.NAME`, instead of what is."""

    def plant(**things):
        monkeypatch.setitem(sys.modules, "planted", types.SimpleNamespace(**things))
        monkeypatch.setattr(public, "names", lambda: [f"planted.{name}" for name in things])

    return plant


def test_every_public_name_has_a_docstring():
    assert public.problems(Everything()) == []
    assert {"fcnn.train", "fcnn.nn.Conv", "fcnn.utils.batch.make_batch"} <= set(public.names())


def test_a_public_name_without_a_docstring_or_a_page_is_a_problem(planted):
    class Documented:
        """One method of which isn't."""

        def __init__(self):
            pass

        def method(self):
            pass

        @property
        def size(self):
            """Its size."""

    def function():
        pass

    planted(Documented=Documented, function=function, same=function)
    assert public.problems(["planted.Documented", "planted.same"]) == [
        "planted.Documented.method has no docstring",
        "planted.function has no docstring",
        "planted.same has no docstring",
    ]
    planted(Documented=property)
    assert public.problems([]) == ["planted.Documented is public, but on no page"]


def test_every_page_is_in_the_table_of_contents():
    contents = (ROOT / "docs/sphinx_fcnn/contents.md").read_text()
    listed = {line.rpartition(" ")[2].strip("<>") for line in contents.splitlines()}
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/reference").iterdir(), *ROOT.glob("*.md")]
    names = {page.relative_to(ROOT).with_suffix("").as_posix() for page in pages} - {"README"}
    assert sorted(names - listed) == []
    assert "docs/course/[0-9]*" in listed


def test_the_examples_of_the_reference_run():
    texts = "\n\n".join(page.read_text() for page in (ROOT / "docs/reference").glob("*.rst"))
    examples = re.findall(r"code-block:: python\n\n((?: {3}.*\n)+)", texts)
    assert len(examples) == texts.count("code-block::") > 0
    for example in examples:
        exec(textwrap.dedent(example), {"fcnn": fcnn_package})


def sphinx_command():
    """The arguments of the command in CONTRIBUTING.md that builds the site, without its output."""
    line = re.search(r"python -m (sphinx .*?) build/site", (ROOT / "CONTRIBUTING.md").read_text())
    assert line is not None
    return shlex.split(line[1])[1:]


@pytest.mark.slow
def test_the_site_builds_strictly_and_has_what_it_should(tmp_path, fcnn):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    result = fcnn(*sphinx_command(), str(tmp_path), cwd=ROOT, program="-m sphinx")
    assert result.returncode == 0, result.stderr
    pages = {page.relative_to(tmp_path).as_posix(): page.read_text() for page in tmp_path.rglob("*.html")}
    assert pages["index.html"] == pages["README.html"]
    assert {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} <= pages.keys()
    assert {f"docs/course/{path.stem}.html" for path in (ROOT / "docs/course").glob("*.ipynb")} <= pages.keys()
    text = html.unescape(re.sub(r"<[^>]+>", "", pages["docs/reference/commands.html"]))
    assert [name for name in cli.COMMANDS if f"fcnn {name}" not in text] == []
    assert [option for option in options() if option not in text] == []
    fields = {field.name: type(getattr(Config(), field.name)) for field in dataclasses.fields(Config)}
    sections = [section for section in fields.values() if dataclasses.is_dataclass(section)]
    ids = [f'id="fcnn.{cls.__name__}.{field.name}"' for cls in sections for field in dataclasses.fields(cls)]
    assert [one for one in ids if one not in pages["docs/reference/config.html"]] == []
    for page in pages.values():  # reading it needs no network, either
        assert not re.search(r"<(script|img|iframe)[^>]* src=\"(https?:)?//|<link[^>]* href=\"(https?:)?//", page)


def options():
    """The options of `fcnn train` that set a field of the config."""
    return [f"--{name.replace('_', '-')}" for name in flatten(Config())]


BROKEN = {
    "[a](nowhere.md)": "'nowhere.md'",
    "[a](README.md#nowhere)": "'nowhere'",
    "![a](nowhere.png)": "nowhere.png",
    "[a](../fcnn/nowhere.py)": "'../fcnn/nowhere.py'",
    "{py:func}`fcnn.nowhere`": "fcnn.nowhere",
}
"""Links, and what a warning of each names."""


@pytest.mark.slow
def test_broken_links_fail_the_build(tmp_path, fcnn):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    (tmp_path / "README.md").write_text("# Title\n\n" + "\n\n".join(BROKEN))
    page = ["-c", str(ROOT / "docs"), "-D", "include_patterns=README.md"]
    result = fcnn("-nW", "--keep-going", *page, ".", "site", cwd=tmp_path, program="-m sphinx")
    assert result.returncode == 1
    assert [link for link, name in BROKEN.items() if not re.search(f"WARNING: .*{name}", result.stderr)] == []
