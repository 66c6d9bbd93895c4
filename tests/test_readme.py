"""Every command and every example in the README, TPU.md and docs.

With `-m slow` they are run as they stand there; without, all but the main job are run on networks that compile in a
moment.
"""

import re
import runpy
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from harness import ROOT

from fcnn import cli
from fcnn.config import presets

README = (ROOT / "README.md").read_text()
INDEX = (ROOT / "docs/README.md").read_text()
DOCS = re.findall(r"\]\(([\w-]+\.md)\)", INDEX)
"""The pages of docs, in the order in which the index lists them."""
PAGES = {"README.md": README} | {name: (ROOT / "docs" / name).read_text() for name in DOCS}


def commands_of(text):
    """The commands of a page in their order: `fcnn ...` in a column of a table, and each line of a bash block."""
    blocks = re.compile(r"```bash\n(.*?)\n```|\| `(fcnn [^`]+)` \|", re.DOTALL)
    lines = [line for block, cell in blocks.findall(text) for line in (block or cell).splitlines()]
    return [line for line in lines if not line.startswith("python3 -m venv")]


SERVICE = "service.md"
"""Its program and commands run until they are stopped: tests/test_service.py does it."""
COMMANDS = list(dict.fromkeys(line for name, text in PAGES.items() if name != SERVICE for line in commands_of(text)))
PRESETS = re.findall(r"\| `(python train.py [^`]+)` \|", PAGES["train.md"])
EXAMPLES = [
    pytest.param(example, id=f"{page} {number}")
    for page, text in PAGES.items()
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    if page not in ("blocks.md", SERVICE)  # of blocks.md, the comments are checked as well
]


# What takes the place of what, where a test needn't take long.
SHORTER = {
    "check --config resnet": "check --help",
    "fcnn study ": "fcnn study --help ",
    "--config resnet --workdir": "--config resnet --help --workdir",
    "--model.name plain20 --workdir": "--help --workdir",
    "own_preset.py --train": "own_preset.py --help --train",  # tests/test_open_doors.py runs it
    "evaluate runs/own-preset": "evaluate --help runs/own-preset",
    "epochs=5": "epochs=1",
    "show runs/digits": "show --help",
    "compare runs/digits": "compare --help",
    "--config resnet --train": "--config resnet --model.name linear --train",
    "--config resnet --augment": "--config resnet --model.name linear --train.epochs 1 --augment",
    "--config resnet --optim": "--config resnet --model.name linear --optim",
    "--model.name plain20": "--model.name mlp",
    "--model.name resnet20 --model.width-multiplier": "--model.name mlp --model.width-multiplier",
    "bench step": "bench step --help",
    "bench data": "bench data --help",
    "--train.epochs 4 --trials 6": "--train.epochs 1 --trials 1",
    'load_preset("resnet")': 'load_preset("short.py")',
    'create("resnet20"': 'create("mlp"',
    '"resnet18"': '"resnet20"',
    "num_classes=1000": "num_classes=10",
}
SHORT = (
    "from fcnn.config import Config, ModelConfig, TrainConfig\n"
    "CONFIG = Config(model=ModelConfig(name='linear'), train=TrainConfig(epochs=1))\n"
)


def checkout(path):
    """A copy to run in: nothing that a run writes ends up in ours."""
    for name in ("fcnn", "configs", "examples"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", path)
    (path / "short.py").write_text(SHORT)
    (path / "photos").mkdir()
    (path / "docs").mkdir()
    shutil.copy(ROOT / "docs/digit.png", path / "docs")
    return path


def shorten(text):
    for before, after in SHORTER.items():
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module", params=["shorter", pytest.param("as it stands", marks=pytest.mark.slow)])
def form(request):
    """How a command or an example is run."""
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, form):
    """A checkout for each form."""
    return checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def run(form, folder, fcnn, monkeypatch, capsys):
    """Runs a line, `fcnn ...` or `FILE.py`, and returns what it prints: in a process of its own as it stands, in this
    one when it's shorter, where nothing has to be imported again."""

    def run(line):
        if form == "as it stands":
            program, *arguments = shlex.split(line)
            found = fcnn(*arguments, cwd=folder, program="-m fcnn" if program == "fcnn" else program)
            assert found.returncode == 0, found.stderr
            return found.stdout
        monkeypatch.chdir(folder)
        program, *arguments = shlex.split(shorten(line))
        if program == "fcnn":
            try:
                code = cli.main(arguments)
            except SystemExit as stop:  # --help
                code = stop.code
            assert code == 0
        else:
            Path(program).write_text(shorten(Path(program).read_text()))
            runpy.run_path(program)
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_the_main_job(tmp_path, fcnn):
    """What the README's first command runs once it has installed: 60 s at the most on two quiet cores, 99 %."""
    command = re.search(r"<!-- main job -->\n```bash\n(.*?)\n```", README)
    assert command is not None
    program = command[1].split(" && ")[-1].removeprefix(".venv/bin/python ")
    folder = checkout(tmp_path / "checkout")
    found = fcnn(cwd=folder, program=program)
    assert found.returncode == 0, found.stderr
    accuracy = re.search(r"Test accuracy ([\d.]+) % \((\d+) of 360;", found.stdout.splitlines()[-1])
    assert accuracy is not None, found.stdout
    assert float(accuracy[1]) >= 98.5  # 99.0 is for the mean over seeds; one image is 0.28
    assert (folder / "runs/resnet-001/curves.png").exists()


TOO_LONG = re.compile(
    r"fcnn bench (all|predict)|fcnn study (?!initialization|linear_stack|max_pooling)|fcnn train --config transfer_|"
    r"fcnn (train|audit|bench photos) photos"
)
"""Hours, a quarter of one in all, and what needs photos: understood by the program, and in tests/bench, tests/studies
and tests/transfer run smaller."""


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_in_their_order(command, run):
    assert run(f"{command} --help" if TOO_LONG.match(command) else command)


@pytest.mark.parametrize("command", PRESETS)
def test_the_other_presets_commands_are_understood(command, tmp_path, monkeypatch, capsys):
    """Up to where their images would be needed: with `--help`, a program or a name that isn't there is an error."""
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)[1:]
    assert program == "train.py"
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", *arguments, "--help"])
    assert stop.value.code == 0
    name = arguments[arguments.index("--config") + 1]
    assert f"/{name}.py)" in PAGES["train.md"]
    assert presets.load_preset(name).data.name.partition(":")[0] in capsys.readouterr().out


RESULT = re.compile(r"\d+\.\d+% of 3(59|60) test images|loss \d\.\d+|True True False|(logits )?\([\d, ]+\)|\d")
"""The last line that an example prints."""


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples(example, folder, run):
    (folder / "example.py").write_text(example)
    assert RESULT.fullmatch(run("example.py").splitlines()[-1])


def test_the_commands_of_tpu_md(form, folder, fcnn):
    text = (ROOT / "TPU.md").read_text()
    assert 'python -c "import jax; print(jax.devices())"' in text
    commands = re.findall(r"`XLA_FLAGS=(\S+) python (train.py [^`]+)`", text)
    assert len(commands) == 2
    for flags, command in commands:
        program = shorten(command) if form == "shorter" else command
        found = fcnn(cwd=folder, program=program, env={"XLA_FLAGS": flags})
        assert found.returncode == 0, found.stderr
        assert "on 4 x cpu" in found.stdout
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    if form != "shorter":
        (folder / "profiled.py").write_text(example)
        found = fcnn(cwd=folder, program="profiled.py")
        assert found.returncode == 0, found.stderr
        assert list((folder / "runs/profile").rglob("*.xplane.pb"))
    for command in re.findall(r"^fcnn (plan .*)$", text, re.MULTILINE):
        with pytest.raises(SystemExit) as stop:
            cli.main([*shlex.split(command), "--help"])
        assert stop.value.code == 0


def test_the_example_of_the_building_blocks():
    (example,) = re.findall(r"```python\n(.*?)```", PAGES["blocks.md"], re.DOTALL)
    exec(re.sub(r"^(.*)\.shape  # (.*)$", r"assert \1.shape == \2", example, flags=re.MULTILINE), {})


@pytest.mark.slow
def test_the_images_of_the_building_blocks_are_made_by_the_program_beside_them(tmp_path, fcnn):
    folder = checkout(tmp_path / "checkout")
    shutil.copy(ROOT / "docs/make_blocks.py", folder / "docs")
    found = fcnn(cwd=folder, program="docs/make_blocks.py")
    assert found.returncode == 0, found.stderr
    made = {path.name for path in (folder / "docs/blocks").iterdir()}
    assert made == set(re.findall(r"\(blocks/([^)]+)\)", PAGES["blocks.md"]))


def test_the_gallery_shows_the_pictures_that_there_are():
    shown = re.findall(r"\]\(gallery/([^)]+)\)", PAGES["gallery.md"])
    folder = ROOT / "docs/gallery"
    assert sorted(shown) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_every_page_is_in_the_index_and_every_link_leads_to_a_file():
    assert sorted([*DOCS, "README.md"]) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    for page in [ROOT / "README.md", ROOT / "TPU.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_nothing_is_left_out():
    assert len(README.splitlines()) <= 130
    assert len(COMMANDS) >= 44
    assert len(PRESETS) == len(presets.names()) - 1  # all but the main job's
    assert len(EXAMPLES) == 12
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"Python {needed.removeprefix('>=')} or newer" in README
