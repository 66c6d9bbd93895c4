"""Kills commands at any moment of their lives; the same command then ends with what an undisturbed one does.

Promised: a file that has its name is whole at any moment; after the last, undisturbed run everything is what it would
have been, bit for bit, and nothing else is left; a signal that can be handled ends with its exit code and no traceback.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from _jobs import HANG, JOBS, Run, finish, result, undisturbed

# Training most often, a search least: it takes the longest.
TURNS = [*(["train"] * 5), *JOBS, *(name for name in JOBS if name != "search")]
CHANGES = {"train": 80, "search": 150}
"""About how many changes of a command's files can be seen; of another one 8."""


def case(number: int, folder: Path) -> tuple[str, str | None]:
    return kill(TURNS[number % len(TURNS)], random.Random(number), folder)


def kill(name: str, rng: random.Random, folder: Path) -> tuple[str, str | None]:
    """Runs a job, kills it once or several times, and then runs it to its end."""
    expected, whole = undisturbed(name)
    what, done = name, list[str]()
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.choice((signal.SIGKILL,) * 4 + (signal.SIGTERM, signal.SIGINT))
        if rng.random() < 0.5:
            moment, text = _after(rng.uniform(0, whole.seconds))
        else:
            moment, text = _at_change(folder / "out", rng.randint(1, CHANGES.get(name, 8)))
        run = JOBS[name].run(folder)
        moment(run)
        victim = _victim(run, rng) if name == "search" else run.process.pid
        if run.process.poll() is None:
            os.kill(victim, kind)
        run.end()
        done.append(f"{kind.name} {text}{' to a worker' if victim != run.process.pid else ''}")
        what = f"{name}, {', '.join(done)}"
        if run.code is None:
            return what, "it hangs"
        if "Traceback" in run.err:
            return what, f"a traceback: {run.err}"
        if run.code not in (0, -kind, 128 + kind) and victim == run.process.pid and not run.is_done_already:
            return what, f"exit code {run.code}: {run.err}"
        if damaged := _damaged(result(folder), expected):
            return what, f"after a kill different: {damaged}"
    return what, finish(name, folder)


def _damaged(found: dict[str, str], expected: dict[str, str]) -> str:
    """Files that have their final names and are not what they are to be. Records and checkpoints are on their way."""
    return ", ".join(
        name for name in found if name in expected and found[name] != expected[name] and "metrics.jsonl" not in name
    )


def _after(seconds: float) -> tuple[Callable[[Run], None], str]:
    def wait(run: Run) -> None:
        began = time.monotonic()
        while time.monotonic() - began < seconds and run.process.poll() is None:
            time.sleep(0.005)

    return wait, f"after {seconds:.2f} s"


def _at_change(out: Path, count: int) -> tuple[Callable[[Run], None], str]:
    def state() -> list[tuple[str, int]]:
        found = []
        for folder, _, names in os.walk(out):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    found.append((path, os.lstat(path).st_size))
                except OSError:  # gone meanwhile
                    continue
        return found

    def wait(run: Run) -> None:
        left, last, began = count, state(), time.monotonic()
        while left and run.process.poll() is None and time.monotonic() - began < HANG:
            if (now := state()) != last:
                left, last = left - 1, now
            time.sleep(0.0005)

    return wait, f"at change {count} of its files"


def _victim(run: Run, rng: random.Random) -> int:
    """Returns the process itself or one of its workers, as far as the system tells them."""
    try:
        children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
        commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    except OSError:
        commands = {}
    return rng.choice([run.process.pid, *(child for child, words in commands.items() if b"spawn_main" in words)])
