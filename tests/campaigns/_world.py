"""What every case of the campaign over command lines has: finished runs, photographs, the options of the commands."""

import functools
import os
import random
import re
import shutil
from pathlib import Path

from _forks import Forks

PHOTOS_PRESET = (
    "from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig\n"
    "CONFIG = Config(data=DataConfig(name='folder:photos', image_size=16), model=ModelConfig(name='lenet5'),\n"
    "                train=TrainConfig(steps=4, eval_steps=2, batch_size=8))\n"
)
DIGITS = ("--config", "resnet", "--model.name", "lenet5", "--train.batch-size", "128")
FEW = (*DIGITS, "--train.steps", "2")
RUNS: dict[str, tuple[str, ...]] = {
    "digits": ("train", *DIGITS, "--train.epochs", "3", "--train.ema-decay", "0.9"),
    "photos": ("train", "--config", "mine.py"),
    "auto": ("train", *FEW, "--transfer.weights", "runs/digits", "--transfer.strategy", "auto"),
    "search": ("search", "--config", "resnet", "--model.name", "linear", "--train.steps", "2", "--trials", "1"),
}
"""Their command lines, without --workdir."""


@functools.cache
def world(out: Path) -> tuple[Forks, Path]:
    """Makes them once, below a folder; returns the server that runs commands and where they are."""
    base = out / "commands-world"
    places = {
        "HOME": base / "home",
        "XDG_CACHE_HOME": base / "cache",
        "TFDS_DATA_DIR": base / "sets",
        "JAX_COMPILATION_CACHE_DIR": base / "compiled",
        "TMPDIR": base / "tmp",
    }
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # there is no network
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    forks = Forks(environment | {"JAX_PLATFORMS": "cpu"} | {name: str(path) for name, path in places.items()} | proxies)
    if (base / "done").exists():
        return forks, base
    shutil.rmtree(base, ignore_errors=True)
    for path in places.values():
        path.mkdir(parents=True)
    _photographs(base / "photos")
    (base / "mine.py").write_text(PHOTOS_PRESET)
    (base / "runs").mkdir()
    for name, args in RUNS.items():
        request = {"cwd": str(base), "out": str(base / "out"), "err": str(base / "err"), "inside": [str(base)]}
        answer = forks.run(args=[*args, "--workdir", f"runs/{name}"], **request)
        assert answer["code"] == 0, (name, answer, (base / "err").read_text())
    (base / "done").touch()
    return forks, base


def _photographs(folder: Path) -> None:
    from PIL import Image

    rng = random.Random(0)
    for name in ("ant", "bee", "cow"):
        (folder / name).mkdir(parents=True)
        for number in range(14):
            image = Image.frombytes("RGB", (20, 18), rng.randbytes(20 * 18 * 3))
            image.save(folder / name / f"{number}.png")


@functools.cache
def options(out: Path, command: str) -> tuple[tuple[str, str], ...]:
    """Returns every option of a command with its metavar, as its --help-all prints them."""
    forks, base = world(out)
    preset = ["--config", "resnet"] if command in ("train", "check", "search", "plan") else []
    request = {"cwd": str(base), "out": str(base / "help"), "err": str(base / "err"), "inside": [str(base)]}
    answer = forks.run(args=[*command.split(), *preset, "--help-all"], env={"COLUMNS": "200"}, **request)
    assert answer["code"] == 0, (command, answer, (base / "err").read_text())
    text = (base / "help").read_text().replace("│", " ")
    found = re.findall(
        r"^\s+(?:-h, )?(--[\w.-]+)(?:, --[\w.-]+)* *(\{[^}]*\}|[A-Z{][^ ]*(?: FLOAT| \.\.\.)*)?", text, re.MULTILINE
    )
    return tuple(found)


def commands() -> list[str]:
    """Returns the names of all commands, with their kinds."""
    from fcnn.cli import COMMANDS

    return [*COMMANDS, "data show", "data prepare", "bench data", "bench photos"]
