"""Fails the n-th thing that a command asks of its disk: once, or from then on as a full disk does. Now and then it sets
the clock back at that moment instead.

Promised: no traceback, no hang; the command ends with exit code 2 and a line that names what it couldn't write, or goes
on without what it can do without; a checkpoint that was whole stays; the same command then ends as an undisturbed
one. A clock that is set back changes nothing.

What fails is what the C library is asked for (`_faults.c`), so that Orbax's and SQLite's files are in it, too. It needs
a C compiler and Linux.
"""

import errno
import functools
import os
import random
import shutil
import subprocess
from pathlib import Path

from _jobs import HERE, JOBS, difference, finish, result, undisturbed
from harness import shared_folder

NAMES = [name for name in JOBS if name not in ("train", "evaluate", "search")]
ERRORS = {
    "open": (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE),
    "mkdir": (errno.ENOSPC, errno.EACCES, errno.EROFS),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "fsync": (errno.EIO, errno.ENOSPC),
}
OTHERS = (errno.EACCES, errno.EIO)


def available() -> bool:
    """Whether what fails the disk can be built here."""
    return os.path.isdir("/proc/self/fd") and shutil.which("cc") is not None


@functools.cache
def library() -> Path:
    """Returns the library to preload."""
    path = Path(shared_folder("FCNN_CAMPAIGNS_FAULTS")) / "faults.so"
    source = HERE / "_faults.c"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", source, "-o", path, "-ldl"], check=True)
    return path


def operations(folder: Path) -> list[str]:
    """Returns what was asked of the disk in a folder, in order: "write out/run/config.json"."""
    log = folder / "operations"
    return log.read_text().replace(f"{folder}/", "").splitlines() if log.exists() else []


def disturbed(folder: Path, number: int = 0, error: int = 0, *, lasting: bool = False) -> dict[str, str]:
    """Returns the environment of a process whose `number`-th operation below `folder`/out fails."""
    names = {"LD_PRELOAD": library(), "FAULTS_FOLDER": folder / "out", "FAULTS_LOG": folder / "operations"}
    names |= {"FAULTS_AT": number, "FAULTS_ERRNO": error} | ({"FAULTS_LASTING": 1} if lasting else {})
    return {name: str(value) for name, value in names.items()}


@functools.cache
def recorded(name: str) -> list[str]:
    """Returns the operations of an undisturbed job."""
    folder = Path(shared_folder("FCNN_CAMPAIGNS_WHOLE")) / f"{name}-recorded"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = JOBS[name].run(folder, env=disturbed(folder)).end()
    assert run.code == 0, run.err
    return operations(folder)


def case(number: int, folder: Path) -> tuple[str, str | None]:
    rng = random.Random(number)
    places = [(name, place) for name in NAMES for place in range(1, len(recorded(name)) + 1)]
    name, place = places[number * 7919 % len(places)]  # a prime: few cases are spread over all
    if number % 20 == 19:
        return set_clock_back(name, place, folder)
    operation = recorded(name)[place - 1].split()[0]
    kind = next((kind for kind in ERRORS if kind in operation), None)
    error, lasting = rng.choice(ERRORS[kind] if kind else OTHERS), rng.random() < 0.5
    if lasting:
        error = rng.choice((errno.ENOSPC, errno.EDQUOT))
    return fail(name, place, error, folder, lasting=lasting)


def fail(name: str, place: int, error: int, folder: Path, *, lasting: bool) -> tuple[str, str | None]:
    """Runs a job whose `place`-th operation fails, and then again."""
    run = JOBS[name].run(folder, env=disturbed(folder, place, error, lasting=lasting)).end()
    done = operations(folder)
    failed = done[place - 1] if len(done) >= place else "nothing"
    what = f"{name}, {place}: {failed} fails with {errno.errorcode[error]}{' and what follows' if lasting else ''}"
    last = run.err.strip().splitlines()[-1] if run.err.strip() else ""
    if run.code is None:
        return what, "it hangs"
    if "Traceback" in run.err + run.out or "Exception" in run.err:
        return what, f"a traceback: {run.err}"
    if run.code not in (0, 2):
        return what, f"exit code {run.code}: {run.err}"
    if run.code == 2 and not (last.startswith("fcnn: ") and os.strerror(error) in last and "out" in last):
        return what, f"no line names it: {run.err}"
    whole = [line.split()[1].rpartition("/")[2] for line in done[: place - 1] if line.startswith("rename")]
    steps = [int(step) for step in whole if step.isdigit()]
    there = [path.name for path in folder.glob("out/run/checkpoints/*")]
    if steps and str(max(steps)) not in there:
        return what, f"checkpoint {max(steps)} is gone: {there}"
    if run.code == 0 and "could not be written" in run.out:  # a picture, which a result isn't lost with
        return what, None
    return what, finish(name, folder)


def set_clock_back(name: str, place: int, folder: Path) -> tuple[str, str | None]:
    """Runs a job whose clock is a day late from its `place`-th operation on."""
    run = JOBS[name].run(folder, env=disturbed(folder, place) | {"FAULTS_BACK": str(24 * 3600)}).end()
    what = f"{name}, {place}: the clock is set back by a day"
    if run.code != 0 or "Traceback" in run.err:
        return what, f"exit code {run.code}: {run.err}"
    return what, difference(result(folder), undisturbed(name)[0])
