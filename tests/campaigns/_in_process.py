"""A process that runs commands of fcnn one after another, and says of each what it did to the machine.

A line of JSON on standard input, {"args": [...], "folder": ..., "data": ...}, is a command to be run in a folder, with
a folder of its own for prepared data. The answer is a line of JSON: the exit code, what was printed, the traceback of
what it raised, the seconds, how far its memory rose, and what it did that no file may make it do.
"""

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 60
STARTS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect"})
CHANGES = frozenset({"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod"})


class Answer(NamedTuple):
    """What a command did; `code` is None if the process had to be ended, or ended by itself."""

    code: int | None
    printed: str = ""
    error: str = ""
    seconds: float = 0.0
    megabytes: int = 0
    deeds: tuple[str, ...] = ()


class Runner:
    """Runs commands in a process of its own, a new one after the end of the last."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = os.environ | environment
        self._process: subprocess.Popen[str] | None = None
        self._runs = 0

    def run(self, args: list[str], folder: Path) -> Answer:
        """Returns what a command does in a folder."""
        if self._process is None or self._runs == 300:  # compiled programs stay in a process
            self.close()
            self._process, self._runs = self._start(), 0
        self._runs += 1
        process, request = self._process, {"args": args, "folder": str(folder), "data": str(folder / "prepared")}
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        with _limit(process):
            line = process.stdout.readline()
        if not line:
            self.close()
            return Answer(None, error=f"the process ended: {process.returncode}")
        return Answer(**json.loads(line))

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, __file__], env=self._environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def _limit(process: subprocess.Popen[str]) -> Iterator[None]:
    timer = threading.Timer(SECONDS, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def serve() -> None:
    """Answers requests until there are no more."""
    import resource

    from fcnn import cli
    from fcnn.inference import export, predict  # noqa: F401  # what a first command imports is no rise of its memory
    from fcnn.training import checkpoint  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders written in C complain there
    resource.setrlimit(resource.RLIMIT_AS, (32 << 30, 32 << 30))
    deeds: list[str] = []
    allowed = [os.environ["XDG_CACHE_HOME"]]
    sys.addaudithook(lambda event, args: _watch(event, args, deeds, allowed))
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request["folder"])
        os.environ["TFDS_DATA_DIR"] = request["data"]
        allowed[1:] = [request["folder"]]
        deeds.clear()
        answers.write(json.dumps(_answer(cli.main, request["args"], deeds)) + "\n")
        answers.flush()


def _answer(main: Any, args: list[str], deeds: list[str]) -> dict[str, Any]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory is measured anew
    before, begun, code, error = _memory("VmRSS"), time.monotonic(), -1, ""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
        try:
            code = main(args)
        except SystemExit as stop:
            code = stop.code
        except BaseException:  # a traceback is what is looked for
            error = traceback.format_exc()
    megabytes = (_memory("VmHWM") - before) >> 10
    seconds = round(time.monotonic() - begun, 2)
    return dict(
        code=code, printed=printed.getvalue(), error=error, seconds=seconds, megabytes=megabytes, deeds=deeds[:5]
    )


def _memory(field: str) -> int:
    """Of this process, in units of 1024 bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _watch(event: str, args: Any, deeds: list[str], allowed: list[str]) -> None:
    if event in STARTS:
        deeds.append(f"{event} {args[:2]}")
    elif event == "open" and isinstance(args[0], int):
        return
    elif event in CHANGES or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        _check_place(event, args[0], deeds, allowed)


def _check_place(event: str, path: Any, deeds: list[str], allowed: list[str]) -> None:
    place = os.path.abspath(os.fsdecode(path))
    if place != os.devnull and not place.startswith((*allowed, "/dev/shm", "/proc/self")):
        deeds.append(f"{event} {place}")


if __name__ == "__main__":
    serve()
