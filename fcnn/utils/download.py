"""Files from the network: resumed where they ended, verified before they get their name."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from fcnn.utils.errors import UserError

TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 20


def sha256(path: Path) -> str:
    """Returns a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    url: str, path: Path, *, name: str, digest: str, hint: str, log: Callable[[str], None] | None = None
) -> None:
    """Downloads a file, unless another process just did; the part that an earlier try left isn't downloaded again.

    Args:
      path: where the file is to be. Until it is whole and verified it is `path`.part.
      name: what it is, for messages.
      digest: its SHA-256 in hexadecimal, or the first digits.
      hint: what to do when it can't be downloaded, for the message.
      log: gets a line when the download starts; None prints it on standard error.

    Raises:
      UserError: it can't be downloaded, and the part is left; or it isn't the file with this digest, and is deleted.
    """
    from filelock import FileLock

    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if path.is_file():
                part.unlink(missing_ok=True)
                return
            with part.open("ab") as out:
                _fetch(url, out, log)
                out.flush()
                os.fsync(out.fileno())
            if not (actual := sha256(part)).startswith(digest):
                part.unlink()
                raise UserError(
                    f"{url} is not the published {name}: its SHA-256 is {actual[: len(digest)]}, not {digest}; it was "
                    "deleted"
                )
            part.replace(path)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{url} can't be downloaded ({reason}). {hint}") from None


def _fetch(url: str, out: IO[bytes], log: Callable[[str], None] | None) -> None:
    """Appends what is missing of a file, with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    done = out.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()  # nothing is missing, or it is another file: the checksum decides
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with response, Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        if response.status != http.client.PARTIAL_CONTENT and done:  # the server sends the whole or nothing
            out.truncate(0)
            done = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        size = "" if total is None else f", {total / 1e6:,.1f} MB"
        resumed = f", resumed at {done / 1e6:,.1f} MB" if done else ""
        (log or console.print)(f"Downloading {url}{size}{resumed} ...")
        task = progress.add_task(url.rsplit("/", 1)[1], total=total, completed=done)
        while block := response.read(BLOCK):
            done += out.write(block)
            progress.update(task, completed=done)
        if total is not None and done < total:
            raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
