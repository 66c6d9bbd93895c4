"""From an entry of the zoo to its file on this machine: shipped, cached, or downloaded now, and known to be the one."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from filelock import FileLock

from fcnn.utils.errors import UserError
from fcnn.zoo.table import Entry

TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 20


def folder() -> Path:
    """Where downloads are kept: `weights` below $FCNN_CACHE, else below $XDG_CACHE_HOME/fcnn or ~/.cache/fcnn. It may
    be deleted at any time."""
    if own := os.environ.get("FCNN_CACHE"):
        return Path(own).expanduser() / "weights"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fcnn" / "weights"


def where(entry: Entry) -> Path:
    """Where the file of an entry is, or would be."""
    return Path(__file__).parent / entry.file if entry.url is None else folder() / entry.file


def is_here(entry: Entry) -> bool:
    """Whether it can be used without a network."""
    return where(entry).is_file()


def obtain(entry: Entry) -> Path:
    """The file of an entry, downloaded if it isn't here; what was downloaded of it before, in part, is not asked for
    again.

    Raises:
      UserError: it can't be downloaded, or it isn't the published file.
    """
    path = where(entry)
    if not path.is_file() and entry.url is not None:
        try:
            _download(entry, entry.url, path)
        except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise UserError(
                f"{entry.url} can't be downloaded ({getattr(error, 'reason', None) or error}). Try again to go on with "
                f"it, or fetch it elsewhere and put it there: {path}"
            ) from None
    if not path.is_file():
        raise UserError(f"{entry.name}: {path} is missing, which is part of fcnn; install it again")
    if not (found := _sha256(path)).startswith(entry.sha256):
        raise UserError(
            f"{path} is not the published {entry.name}: its SHA-256 is {found[: len(entry.sha256)]}, not "
            f"{entry.sha256}; remove it"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(entry: Entry, url: str, path: Path) -> None:
    """Downloads into a file beside it, which gets the name when it is whole and verified.

    Raises:
      OSError, ValueError, http.client.HTTPException: the network, the server or the disk; what came is kept.
      UserError: what came isn't the published file; nothing is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with FileLock(path.with_name(path.name + ".lock")):  # another process may be downloading it
        if path.is_file():
            part.unlink(missing_ok=True)
            return
        with part.open("ab") as out:
            _fetch(url, out)
            out.flush()
            os.fsync(out.fileno())
        if not (found := _sha256(part)).startswith(entry.sha256):
            part.unlink()
            raise UserError(
                f"{url} is not the published {entry.name}: its SHA-256 is {found[: len(entry.sha256)]}, not "
                f"{entry.sha256}; it was thrown away"
            )
        part.replace(path)


def _fetch(url: str, out: IO[bytes]) -> None:
    """Appends what is missing of a file, telling on standard error how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    done = out.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()  # nothing is missing, or it is another file: the checksum tells
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with answer, Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        if answer.status != http.client.PARTIAL_CONTENT and done:  # the server gives the whole or nothing
            out.truncate(0)
            done = 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        size = "" if total is None else f", {total / 1e6:,.1f} MB"
        console.print(f"Downloading {url}{size}{f', going on after {done / 1e6:,.1f} MB' if done else ''} ...")
        task = progress.add_task(url.rsplit("/", 1)[1], total=total, completed=done)
        while block := answer.read(BLOCK):
            done += out.write(block)
            progress.update(task, completed=done)
        if total is not None and done < total:
            raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
