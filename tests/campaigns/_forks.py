"""Runs `fcnn` command lines in processes that are forked from one that has imported everything: a tenth of a second for
a command that is refused, in place of three.

`Forks` is the client. This file run as a program is the server: a request is a line of JSON, so is the answer.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SECONDS = 25
"""After which a command gets SIGTERM, as a training that is valid takes as long as it likes."""
PATIENCE = 35
"""Seconds from SIGTERM to the end; more is a hang."""
ADDRESSES = 24 << 30
"""Bytes of addresses that a command may take; XLA reserves far more than it uses."""


class Forks:
    """A server of its own, which is started anew where it died."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._server: subprocess.Popen[str] | None = None

    def run(self, **request: Any) -> dict[str, Any]:
        """Runs a command line; the request is that of `_run`, its answer too."""
        if self._server is None or self._server.poll() is not None:
            self._server = subprocess.Popen(
                [sys.executable, "-W", "ignore", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                text=True,
            )
        server = self._server
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    def close(self) -> None:
        """Ends the server."""
        if self._server is not None:
            self._server.communicate()


def _run(request: dict[str, Any]) -> dict[str, Any]:
    """Forks, and waits.

    Args:
      request: "args", "cwd", "env" (what is added), "out" and "err" (paths, "/dev/full", "closed" or "unread" for
        a pipe without a reader), "stdin" (a path), "inside" (folders that may be written to).

    Returns:
      "code" (negative: the signal that ended it), "seconds", "peak" in bytes, "late" (whether it was asked to stop),
      "hung" (whether it had to be killed), "outside" (what it opened for writing elsewhere).
    """
    began = time.monotonic()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        code = 70
        try:
            code = _child(request, tell)
        finally:
            os._exit(code)
    os.close(tell)
    late = hung = False
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            break
        spent = time.monotonic() - began
        if spent > SECONDS and not late:
            late = True
            os.kill(child, signal.SIGTERM)
        if spent > SECONDS + PATIENCE and not hung:
            hung = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it left behind
    with os.fdopen(told, errors="backslashreplace") as pipe:
        outside = sorted(set(pipe.read().splitlines()))
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": round(time.monotonic() - began, 2),
        "peak": usage.ru_maxrss * 1024,
        "late": late,
        "hung": hung,
        "outside": outside,
    }


def _child(request: dict[str, Any], tell: int) -> int:
    """Runs the command line as a program of its own would; returns its exit code."""
    os.setsid()
    os.set_inheritable(tell, False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(request["cwd"])
    os.environ.update(request.get("env", {}))
    _redirect(0, request.get("stdin", os.devnull), os.O_RDONLY)
    _redirect(1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _redirect(2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _open_streams()
    _watch(tell, [*request["inside"], os.devnull, "/dev/full", "/dev/shm", "/proc"])
    args = [os.fsdecode(arg.encode("latin-1")) for arg in request["args"]]
    sys.argv = ["fcnn", *args]
    from fcnn.cli import main

    try:
        code = main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 70
    for stream in (sys.stdout, sys.stderr):  # as Python does at its end
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            os.write(2, f"Exception ignored while flushing: {error}\n".encode())
            code = 120
    return code


def _redirect(number: int, place: str, flags: int) -> None:
    if place == "closed":
        os.close(number)
    elif place == "unread":
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, number)
        os.close(writing)
    else:
        opened = os.open(place, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)


def _open_streams() -> None:
    """Makes Python's streams, as at its start: None where the descriptor is closed."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        try:
            os.fstat(number)
        except OSError:
            setattr(sys, name, None)
            continue
        errors = "backslashreplace" if number == 2 else "strict"
        line_buffering = number == 2
        setattr(sys, name, open(number, mode, encoding="utf-8", errors=errors, closefd=False))  # noqa: SIM115
        if line_buffering:
            sys.stderr.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _watch(tell: int, inside: list[str]) -> None:
    """Has Python tell what is written outside of some folders."""
    parents = tuple(os.path.realpath(folder) for folder in inside)

    def look(event: str, args: tuple) -> None:
        if event == "open":
            path, mode, flags = args
            writes = bool(flags & WRITES) if isinstance(flags, int) else set(mode or "") & set("wax+")
            places = [path] if writes else []
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.mkfifo"):
            places = [args[0]]
        elif event in ("os.rename", "os.link"):
            places = [args[0], args[1]]
        elif event in ("os.symlink", "shutil.copyfile", "shutil.move"):
            places = [args[1]]
        elif event == "sqlite3.connect":
            places = [args[0]]
        else:
            return
        for place in places:
            if not isinstance(place, str | bytes | os.PathLike):
                continue
            name = os.path.realpath(os.fsdecode(place))
            if not any(name == parent or name.startswith(parent + os.sep) for parent in parents):
                os.write(tell, f"{event} {name}\n".encode(errors="backslashreplace"))

    sys.addaudithook(look)


def _serve() -> None:
    """Answers until nobody asks any more."""
    import jax
    import numpy
    import optax
    import orbax.checkpoint
    import PIL.Image
    import tyro

    import fcnn.cli
    import fcnn.data.folder
    import fcnn.inference.predict
    import fcnn.training.trainer

    del jax, numpy, optax, orbax, PIL, tyro, fcnn
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        answers.write(json.dumps(_run(json.loads(line))) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))
    _serve()
