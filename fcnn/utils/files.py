"""Writing a file whole or not at all: after an interruption or a power cut, what was there before is still there."""

import contextlib
import errno
import io
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fcnn.utils.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None

TEMPORARY = ".fcnn-*.tmp"
"""Names of files that are on their way."""
ELSEWHERE = "elsewhere"
DAY = 24 * 3600
"""Seconds without a change after which a temporary file of another machine is left behind."""


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file, making its folder if need be; UserError if that isn't possible. What was there before stays until
    the new one is whole and on disk."""
    try:
        with new_file(path) as temporary, temporary.open("r+b", buffering=0) as file:
            append(file, data)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from None


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives an empty file beside `path`, whose folder it makes if need be; the file becomes `path`, on disk, at the end
    of the context, or is removed after an error. What processes that were killed have left there is removed first.

    Raises:
      OSError: the folder or the file can't be made, or not be kept on the disk.
    """
    make_folder(path.parent)
    remove_leftovers(path.parent)
    temporary, file = _locked_file(path.parent)
    try:
        yield temporary
        os.fsync(file.fileno())
        if fcntl is None:  # Windows renames no file that is open
            file.close()
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C, too
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:  # of fsync
            error.filename = str(path)
        raise
    finally:
        file.close()
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder, and those that it lies in, on disk under their names; nothing if it is there."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def append(file: io.FileIO, data: bytes) -> None:
    """Writes all of the data to a file without a buffer: what fails, fails here and not when the file is closed."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder are on disk, where a system does that."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folder
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise OSError(error.errno, error.strerror, str(folder)) from None
    finally:
        os.close(number)


def sync_tree(folder: Path) -> None:
    """Returns when all that is in a folder is on disk."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            with path.open("r+b") as file:
                try:
                    os.fsync(file.fileno())
                except OSError as error:
                    raise OSError(error.errno, error.strerror, str(path)) from None
        sync_folder(Path(parent))


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files in a folder that no process is writing any more.

    Their writer holds a lock on each. That is known for certain where it ran on this machine, since it was started;
    another machine, on a disk that both see, may lock files where this one can't see it, and Windows has no such locks:
    there, and where a machine has no name, a file is left behind after a day.
    """
    for path in folder.glob(TEMPORARY):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            free = fcntl is None or _lock(file)
            if free and (_is_ours(path) or time.time() - path.stat().st_mtime > DAY):
                path.unlink()


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Marks a folder as this process's while the context lasts, for `is_abandoned`."""
    path, file = _locked_file(folder)
    try:
        yield
    finally:
        file.close()
        with contextlib.suppress(OSError):
            path.unlink()


def is_abandoned(folder: Path) -> bool:
    """Whether the process that was writing a folder is gone: its mark is there, without its lock, or, without a mark,
    nothing in the folder has changed for a day."""
    marks = list(folder.glob(TEMPORARY))
    for path in marks:
        with path.open("r+b") as file:
            if fcntl is not None and not _lock(file):
                return False
    if marks and all(map(_is_ours, marks)):
        return True
    return time.time() - max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) > DAY


def _locked_file(folder: Path) -> tuple[Path, IO[bytes]]:
    """Makes a temporary file that nobody removes while it is open."""
    while True:
        path = folder / f".fcnn-{_machine()}-{uuid.uuid4().hex[:12]}.tmp"
        file = path.open("xb")
        _lock(file, wait=True)
        with contextlib.suppress(FileNotFoundError):  # removed in between, by somebody who found it without its lock
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return path, file
        file.close()


def _lock(file: IO[bytes], *, wait: bool = False) -> bool:
    """Locks an open file for this process; False if another one has it, or if the disk knows no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _is_ours(path: Path) -> bool:
    """Whether a process of this machine, since it was started, has made a temporary file, as far as can be known."""
    return fcntl is not None and _machine() != ELSEWHERE and path.name.startswith(f".fcnn-{_machine()}-")


def _machine() -> str:
    """Returns a name for this machine since it was started; ELSEWHERE where none is known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").replace("-", "")[:12]
    except OSError:
        return ELSEWHERE


def cache_folder() -> Path:
    """Returns the folder of what fcnn can get again, `fcnn` below $XDG_CACHE_HOME or ~/.cache; UserError without a
    home folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fcnn"
    except RuntimeError:
        raise UserError("there is no home folder for downloads; name a folder by XDG_CACHE_HOME") from None
