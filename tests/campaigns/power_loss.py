"""Looks at what a power cut would leave, at any moment of a command: by what it has asked of the disk.

Promised: what gets its final name is on disk before, so that the name leads to all of it or to what was there; and what
a command has written is under its name, on disk, once the command ends.
"""

from collections.abc import Sequence
from pathlib import Path

from _jobs import JOBS
from disk_faults import recorded

NAMES = [name for name in JOBS if name not in ("evaluate", "search")]
UNFINISHED = (".orbax-checkpoint-tmp", "/.", ".__lock", "incomplete")
"""Parts of names that say that something is on its way."""
PASSING = ("/.lock", "/tensorboard", "/sorted", "/downloads", "commit_success.txt", "_CHECKPOINT_METADATA")
"""What nobody needs after a power cut: links to images, folders that TFDS leaves empty; Orbax's last two say when a
checkpoint was finished."""


def case(number: int, folder: Path) -> tuple[str, str | None]:
    del folder
    name = NAMES[number % len(NAMES)]
    operations = recorded(name)
    return f"{name}, {len(operations)} operations", "; ".join(unsafe(operations)) or None


def unsafe(operations: Sequence[str]) -> list[str]:
    """Returns what could be lost: files that get a name before they are on disk, and names that never are."""
    files, names, found = set[str](), set[str](), []  # the first two: not on disk yet
    known = {"out"}
    for operation in operations:
        what, path, *before = operation.split(" ")
        if what.startswith("rename"):
            moved = {file for file in files if _is_in(file, before[0])}
            if not _matches(path, UNFINISHED) and "/incomplete." not in before[0]:  # TFDS's: on disk a moment later
                found += [f"{path} gets its name before {file} is on disk" for file in sorted(moved)]
            files, names, known = (_renamed(each, before[0], path) for each in (files, names, known))
            names, known = names | {path}, known | {path}
        elif what.startswith(("fsync", "fdatasync")):
            files.discard(path)
            names = {name for name in names if name.rpartition("/")[0] != path}
        elif what.startswith(("unlink", "rmdir")):
            files, names, known = files - {path}, names - {path}, known - {path}
        elif not _matches(path, PASSING):
            if not what.startswith(("mkdir", "symlink", "link")):
                files.add(path)
            if path not in known:
                names.add(path)
            known.add(path)
    return found + [f"{path} is not on disk at the end" for path in sorted(files | names)]


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _renamed(paths: set[str], before: str, after: str) -> set[str]:
    return {after + path.removeprefix(before) if _is_in(path, before) else path for path in paths}


def _matches(path: str, parts: Sequence[str]) -> bool:
    return any(part in path for part in parts)
