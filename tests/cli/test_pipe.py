"""A reader that leaves early, as `head` and `true` do, ends a command and leaves nothing on standard error."""

import contextlib
import os
import re
import shlex
import subprocess
import sys

import pytest
from harness import ROOT, start

from fcnn import cli
from fcnn.report import Console
from fcnn.runtime.streams import EXIT_CODE


@pytest.mark.parametrize(
    "command",
    [
        "--help", "models", "models --json", "zoo", "study", "summary lenet5", "train --config resnet --help",
        "data show digits",
    ],
)  # fmt: skip
def test_a_reader_that_leaves_is_no_error(command, tmp_path, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.chdir(tmp_path)
    with open(writing, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        assert cli.main(command.split()) == EXIT_CODE
        unread.write("what Python flushes at the end has somewhere to go now")
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_a_pipe_that_breaks_elsewhere_is_an_error(monkeypatch):
    def broken(_):
        raise BrokenPipeError("a worker's")

    monkeypatch.setitem(cli.COMMANDS, "models", (broken, ""))
    with pytest.raises(BrokenPipeError, match="worker"):
        cli.main(["models"])


def test_in_a_process_of_its_own(tmp_path):
    with start("-m", "fcnn", "train", "--help", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("usage: fcnn train")
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode in (EXIT_CODE, 0)  # 0: all of it was in the pipe


def test_words_in_brackets_and_between_colons_are_printed_as_they_stand(capsys):
    """Rich would color the first, and draw a cat."""
    text = "runs/[red]a[/]:cat:/[/b] 100 % {x} <i>&amp;"
    Console().log(text)
    assert capsys.readouterr().out == text + "\n"


def environment():
    return dict(os.environ) | {"PYTHONPATH": str(ROOT)}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's")
@pytest.mark.parametrize(
    ("redirected", "code", "printed"),
    [
        (">/dev/full", 2, "fcnn: standard output: No space left on device\n"),
        (">/dev/full 2>/dev/full", 2, ""),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
    ],
)
def test_streams_that_are_full_or_closed(redirected, code, printed, tmp_path):
    command = f"{shlex.quote(sys.executable)} -m fcnn zoo {redirected}"
    found = subprocess.run(command, shell=True, text=True, capture_output=True, cwd=tmp_path, env=environment())
    assert (found.returncode, found.stdout.strip(), found.stderr) == (code, "", printed)


def test_a_file_never_takes_the_place_of_a_stream_that_is_closed(tmp_path):
    """What libraries print would be written into it."""
    program = "from fcnn import cli; cli.main(['--version']); open('x', 'w'); import os; os.system('echo in x?')"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} >&-"
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=environment())
    assert (tmp_path / "x").read_text() == ""


def test_no_control_character_reaches_a_terminal(capsys):
    assert cli.main(["\x1b[31mred\x07\x9b"]) == 2
    Console().log("runs/\x1b]0;title\x07 \u202e\nnext line")
    out, err = capsys.readouterr()
    assert err.startswith(r"fcnn: unknown command '\x1b[31mred\x07\x9b'")
    assert out == "runs/\\x1b]0;title\\x07 \\u202e\nnext line\n"


BAR_AND_HELP = """
from fcnn.cli import main
from fcnn.report import Console
list(Console().progress([1, 2], "images", 2))
main(["zoo", "--help"])
"""


def test_no_color_is_honored_by_progress_bars_and_help(tmp_path):
    pty = pytest.importorskip("pty")
    reading, writing = pty.openpty()
    env = {"NO_COLOR": "1", "TERM": "xterm-256color"}
    with start("-c", BAR_AND_HELP, cwd=tmp_path, env=env, stdout=writing) as process:
        os.close(writing)
        text = b""
        with contextlib.suppress(OSError):  # how Linux says that the terminal's other end is closed
            while part := os.read(reading, 4096):
                text += part
    os.close(reading)
    assert process.returncode == 0
    assert b"2/2" in text  # the progress bar, which only a terminal gets
    assert b"--json" in text
    assert not re.findall(rb"\x1b\[[\d;]*m", text)
