"""A signal at any moment ends a command without a traceback, and the same command again gives the same numbers.

The signals are real; they come at a moment that a replaced function chooses, in this process.
"""

import _imp
import gc
import os
import shlex
import signal
import sys
import time
import weakref
from importlib.machinery import ExtensionFileLoader

import pytest
from harness import comparable, start

from fcnn import cli
from fcnn.report import read_records
from fcnn.runtime.signals import Interrupt, Stopped
from fcnn.training import results, run_data, trainer

SMALL = ["--config", "resnet", "--model.name", "linear", "--train.epochs", "1"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def interrupted(function, number):
    """The function, but that the process gets a signal when it is called."""

    def changed(*args, **options):
        os.kill(os.getpid(), number)
        return function(*args, **options)

    return changed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The records of a run that was left alone."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert cli.main(["train", *SMALL, "--workdir", str(folder)]) == 0
    return comparable(folder)


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [
        (run_data, "load", signal.SIGINT),
        (run_data, "make_setup", signal.SIGTERM),
        (trainer, "compile_train_step", signal.SIGHUP),
        (trainer, "evaluate_best", signal.SIGINT),
        (results, "draw_curves", signal.SIGTERM),
        (results, "describe", signal.SIGHUP),
        (results, "write_page", signal.SIGINT),
    ],
)
def test_a_signal_before_the_first_step_or_after_the_last(
    module, function, number, whole, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module, function, interrupted(getattr(module, function), number))
        assert cli.main(["train", *SMALL, "--workdir", "run"]) == CODES[number]
    output = capfd.readouterr()
    assert "Traceback" not in output.err
    again = output.out.splitlines()[-1]
    assert again.startswith("Stopped. To continue: ")
    assert again.endswith("train --config resnet --model.name linear --train.epochs 1 --workdir run")
    words = shlex.split(again)
    assert cli.main(words[words.index("train") :]) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("Test accuracy ")
    assert comparable(tmp_path / "run") == whole
    assert (tmp_path / "run/report.html").exists()


@pytest.mark.parametrize("function", ["draw_curves", "describe", "write_page"])
def test_a_picture_that_cannot_be_drawn_costs_no_result(function, whole, tmp_path, monkeypatch, capfd):
    def fails(*args, **options):
        raise ValueError("ParseException")

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(results, function, fails)
        assert cli.main(["train", *SMALL, "--workdir", "run"]) == 0
    name = "curves.png" if function == "draw_curves" else "report.html"
    *lines, accuracy = capfd.readouterr().out.splitlines()
    assert f"{name} could not be written: ParseException" in lines
    assert accuracy.startswith("Test accuracy ")
    assert comparable(tmp_path / "run") == whole


@pytest.mark.parametrize("number", CODES)
def test_a_signal_in_another_command(number, monkeypatch, capfd):
    monkeypatch.setitem(cli.COMMANDS, "models", (interrupted(lambda _: 0, number), ""))
    assert cli.main(["models"]) == CODES[number]
    assert capfd.readouterr().err == f"\n{signal.Signals(number).name}: stopping; once more stops at once.\n"


def test_what_was_ignored_stays_ignored_and_the_rest_comes_back():
    """The first as `nohup` wants it; the rest with the descriptor that signals are written to."""
    before = {number: signal.getsignal(number) for number in CODES}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.received is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert {number: signal.getsignal(number) for number in CODES} == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_deferred_signal_waits_for_its_end():
    received = []

    def work():
        with Interrupt() as interrupt, interrupt.deferred("working"):
            os.kill(os.getpid(), signal.SIGTERM)
            received.append(interrupt.received)

    with pytest.raises(Stopped, match="SIGTERM"):
        work()
    assert received == [signal.SIGTERM]


class Referred:
    """Has weak references."""


def in_the_garbage_collector(call, monkeypatch):
    def callback(phase, info):
        gc.callbacks.remove(callback)
        call()

    gc.callbacks.append(callback)
    gc.collect()


def when_an_object_ends(call, monkeypatch):
    weakref.finalize(Referred(), call)


def in_an_extension(call, monkeypatch):
    monkeypatch.setattr(_imp, "exec_dynamic", lambda module: call())
    ExtensionFileLoader("a", "a.so").exec_module(os)


@pytest.mark.parametrize("place", [in_the_garbage_collector, when_an_object_ends, in_an_extension])
def test_a_signal_where_nothing_can_raise_is_obeyed_a_moment_later(place, monkeypatch, capfd):
    done = []

    def call():
        if not done:
            os.kill(os.getpid(), signal.SIGTERM)
        done.extend(range(3))

    def work():
        place(call, monkeypatch)
        time.sleep(10)

    monkeypatch.setitem(cli.COMMANDS, "models", (lambda _: work(), ""))
    hook = sys.unraisablehook
    assert cli.main(["models"]) == CODES[signal.SIGTERM]
    assert capfd.readouterr().err == "\nSIGTERM: stopping; once more stops at once.\n"
    assert sys.unraisablehook == hook
    assert done or place is not in_an_extension


TWICE = """
import os, sys, time
from fcnn.runtime.signals import Interrupt
with Interrupt() as interrupt, interrupt.deferred("saving"):
    for _ in range(2):
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(0.2)
    print("saved", flush=True)
"""


@pytest.mark.parametrize("number", CODES)
def test_a_second_signal_ends_the_process_but_a_closed_terminal_sends_two(number, tmp_path):
    with start("-c", TWICE, str(int(number)), cwd=tmp_path) as process:
        out, _ = process.communicate(timeout=60)
    assert out == ("saved\n" if number == signal.SIGHUP else "")


@pytest.mark.slow
def test_a_terminal_that_closes(tmp_path):
    """The run saves and ends with 129, though there is nowhere to print; under `nohup` it goes on."""
    options = ["--config", "resnet", "--model.name", "mlp", "--train.epochs", "10000", "--workdir", "run"]
    folder = tmp_path / "run"
    primary, terminal = os.openpty()
    with start("-m", "fcnn", "train", *options, cwd=tmp_path, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        while not (folder / "metrics.jsonl").exists() or not read_records(folder):
            os.read(primary, 65536)  # or the terminal is full, and the run waits
        os.close(primary)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 129
    saved = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    assert saved >= read_records(folder)[-1]["step"] > 0


@pytest.mark.slow
def test_nohup(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which is what it does, and processes inherit
    try:
        process = start("-m", "fcnn", "train", *SMALL, "--workdir", "run", cwd=tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        while not (tmp_path / "run/metrics.jsonl").exists():
            assert process.poll() is None
            process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Test accuracy" in out
