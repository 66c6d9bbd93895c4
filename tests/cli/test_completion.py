"""`fcnn completion`: the shell's own word on the script, and what bash would offer."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fcnn import cli
from fcnn.cli import completion

MAX_ARGUMENT = 128 * 1024
"""Bytes: fish passes the script's program to Python as one argument, and Linux takes no longer one."""
OFFERED = [
    ("tr", {"train"}),
    ("train --workd", {"--workdir"}),
    ("train --config resnet5", {f"resnet50_{name}imagenet" for name in ("", "a1_", "a2_", "a3_", "v2_")}),
    ("train --config resnet --optim.name la", {"lamb", "lars"}),
    ("train --config resnet --data.image-s", {"--data.image-size"}),
    ("bench ", {"-h", "--help", "step", "eval", "all", "predict", "data", "photos"}),
    ("bench photos --min", {"--minutes"}),
    ("summary convnext_t", {"convnext_tiny"}),
    ("study max", {"max_pooling"}),
    ("export runs/x --format s", {"safetensors", "stablehlo"}),
    ("evaluate ru", set()),  # so that bash completes files
]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    @functools.cache
    def write(shell):
        path = tmp_path_factory.mktemp("completion") / f"fcnn.{shell}"
        with path.open("w") as file, contextlib.redirect_stdout(file):
            assert cli.main(["completion", shell]) == 0
        return path

    return write


def test_every_command_has_its_options():
    assert list(completion.COMMANDS) == list(cli.COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_for_that_shell(shell, script):
    path = script(shell)
    assert "_fcnn" in path.read_text()
    assert path.stat().st_size < 0.95 * MAX_ARGUMENT
    if program := shutil.which(shell):
        subprocess.run([program, "-n", path], check=True)


@pytest.mark.skipif(not shutil.which("bash") or os.name == "nt", reason="there is no bash")
def test_bash_offers_commands_options_and_names(script):
    lines = [f"source {script('bash')}", 'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fcnn;']
    lines += ['  echo "${COMPREPLY[*]}"; }', "IFS=' '"]
    lines += [f"try fcnn {line}" + (' ""' if line.endswith(" ") else "") for line, _ in OFFERED]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert not ran.stderr
    assert [set(line.split()) for line in ran.stdout.splitlines()] == [words for _, words in OFFERED]
