"""From an entry of the zoo to its file on this machine: shipped, cached, or downloaded now, and known to be the one."""

import importlib.util
import os
import sysconfig
from pathlib import Path

from fcnn.utils.download import download, sha256
from fcnn.utils.errors import UserError, install
from fcnn.utils.files import cache_folder
from fcnn.zoo.entry import Entry


def folder() -> Path:
    """Where downloads are kept: `weights` below $FCNN_CACHE, else below $XDG_CACHE_HOME/fcnn or ~/.cache/fcnn. It may
    be deleted at any time."""
    if own := os.environ.get("FCNN_CACHE"):
        return Path(own).expanduser() / "weights"
    return cache_folder() / "weights"


def where(entry: Entry) -> Path:
    """Where the file of an entry is, or would be."""
    if entry.package is not None and entry.path is not None:
        spec = importlib.util.find_spec(entry.package)
        places = (spec and spec.submodule_search_locations) or [f"{sysconfig.get_path('purelib')}/{entry.package}"]
        return Path(places[0]) / entry.path
    return Path(__file__).parent / entry.file if entry.url is None else folder() / entry.file


def is_here(entry: Entry) -> bool:
    """Whether it can be used without a network."""
    return where(entry).is_file()


def obtain(entry: Entry) -> Path:
    """The file of an entry, downloaded if it isn't here.

    Raises:
      UserError: it can't be downloaded, or it isn't the published file.
    """
    path = where(entry)
    if not path.is_file() and entry.url is not None:
        hint = f"Try again to resume, or download it elsewhere and put it there: {path}"
        download(entry.url, path, name=entry.name, digest=entry.sha256, hint=hint)
    if not path.is_file():
        if entry.extra:
            raise UserError(f"{entry.name} is installed separately: {install(entry.extra)}")
        raise UserError(f"{entry.name}: {path} is missing, which comes with fcnn; install it again")
    if not (actual := sha256(path)).startswith(entry.sha256):
        raise UserError(
            f"{path} is not the published {entry.name}: its SHA-256 is {actual[: len(entry.sha256)]}, not "
            f"{entry.sha256}; remove it"
        )
    return path


def class_names(file: str | None) -> tuple[str, ...]:
    """Returns the names of an entry's classes, in the order of the logits, from the file that it names; () if none."""
    return () if file is None else tuple((Path(__file__).parent / file).read_text(encoding="utf-8").splitlines())
