"""What stands around the package: CI of a public host, templates, citation, container, installation page."""

import re
import tomllib

import pytest
import yaml
from harness import ROOT

from fcnn import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").iterdir()}
INSTALL = (ROOT / "docs/install.md").read_text()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_has_a_major_version_and_no_job_more_rights_than_it_needs(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    for job_name, job in workflow["jobs"].items():
        assert set(job.get("permissions", {})) <= ({"id-token"} if job_name == "publish" else set())
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v1)", step.get("uses", "a/b@v1"))


def test_ci_builds_the_site_as_contributors_do_and_runs_its_notebooks():
    steps = [step.get("run", "") for step in WORKFLOWS["ci.yml"]["jobs"]["docs"]["steps"]]
    (command,) = (step for step in steps if "sphinx" in step)
    page = (ROOT / "CONTRIBUTING.md").read_text()
    build, option = command.split(" -D ")
    assert f".venv/bin/{build} " in page
    assert f"`-D {option}`" in page


def test_ci_runs_every_python_that_the_page_lists():
    pythons = re.findall(r"3\.\d+", next(line for line in INSTALL.splitlines() if line.startswith("| system")))
    for job in ("tests", "windows"):
        assert WORKFLOWS["ci.yml"]["jobs"][job]["strategy"]["matrix"]["python"] == pythons
    assert f">={pythons[0]}" == PROJECT["requires-python"]
    trained = {entry.split()[-1] for entry in PROJECT["classifiers"] if ":: Python :: 3." in entry}
    assert trained <= set(pythons)


def test_the_page_lists_every_extra():
    table = INSTALL[INSTALL.index("| extra |") : INSTALL.index("## Systems")]
    assert set(re.findall(r"`([\w-]+)`(?=[,`\w \-]* \|)", table)) >= set(PROJECT["optional-dependencies"])


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_templates_and_notes_for_the_host_hold_together():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        template = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            ids = [part["id"] for part in template["body"]]
            assert template["name"]
            assert len(ids) == len(set(ids))
    for path in (ROOT / ".github").glob("*.md"):
        text = path.read_text()
        assert not re.search(r"TODO|INSERT|example\.(com|org)|\[[A-Z][A-Z ]+\]", text)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (path.parent / target).exists()


def test_the_container_gets_what_the_package_is_built_from():
    lines = (ROOT / ".ci/Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert all((ROOT / name).exists() for name in copied)
    kept = {line[1:] for line in (ROOT / ".ci/Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == kept >= {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "fcnn", "configs"}
