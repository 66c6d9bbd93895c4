"""Getting hold of a published set: its files from a folder or from the network, verified before they are used."""

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from fcnn.data.cache import data_dir
from fcnn.data.formats import Arrays
from fcnn.data.official import SETS, File, OfficialSet
from fcnn.utils.download import download, sha256
from fcnn.utils.errors import UserError

# What a damaged or foreign file makes the readers raise.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OSError, EOFError, zlib.error, tarfile.TarError)


def obtain(official: OfficialSet, manual_dir: Path | None, log: Callable[[str], None]) -> dict[str, Arrays]:
    """Returns the images and labels of a set's splits, verified.

    Args:
      manual_dir: where its files are, archives or extracted; None to download them.

    Raises:
      UserError: a file is missing, or isn't the published one; or the network doesn't give it.
    """
    paths = _download(official, log) if manual_dir is None else _find(official, manual_dir)
    for file, path in zip(official.files, paths, strict=True):
        if (sha := file.names.get(path.name)) is not None:
            _verify(official, path, sha)
    path = paths[0] if len(paths) == 1 else paths[0].parent
    try:
        splits = official.read(paths)
        fault = official.fault(splits)
    except _UNREADABLE as error:
        raise UserError(f"{path} can't be read as {official.name}: {error}. {_wanted(official)}") from None
    if fault is not None:
        others = [other.name for other in SETS.values() if other is not official and other.fault(splits) is None]
        reason = f"it is {others[0]}" if others else fault
        raise UserError(f"{path} is not {official.name}: {reason}. {_wanted(official)}")
    return splits


def _wanted(official: OfficialSet) -> str:
    """Returns which files to put where."""
    names = [file.name for file in official.files]
    files = names[0] if len(names) == 1 else f"these {len(names)} files, gzipped or not: {', '.join(names)}"
    other = [name for name in official.files[0].names if name.endswith(".tar.gz")][1:]
    choice = f" (or {other[0]}, or either one extracted)" if other else ""
    base = official.files[0].url.rsplit("/", 1)[0]
    return f"Put {files}{choice} from {base}/ into a folder and name it with --data.manual-dir"


def _find(official: OfficialSet, manual_dir: Path) -> list[Path]:
    """Returns a path for each of the set's files, all in one folder."""
    manual_dir = manual_dir.expanduser()
    if not manual_dir.is_dir():
        raise UserError(f"data.manual-dir: there is no folder {manual_dir}. {_wanted(official)}")
    missing: list[str] = [file.name for file in official.files]
    # The set's own folder first: two sets whose files have the same names may lie side by side.
    for folder in [*(manual_dir / name for name in official.folders), manual_dir]:
        candidates = [_find_one(file, folder) for file in official.files]
        paths = [path for path in candidates if path is not None]
        if len(paths) == len(candidates):
            return paths
        if paths:
            missing = [file.name for file, path in zip(official.files, candidates, strict=True) if path is None]
    raise UserError(f"{manual_dir} has no {', '.join(missing)}. {_wanted(official)}")


def _find_one(file: File, folder: Path) -> Path | None:
    for name in file.names:
        if (folder / name).exists():
            return folder / name
    return folder if any((folder / name).is_file() for name in file.inside) else None


def _verify(official: OfficialSet, path: Path, sha: str) -> None:
    """UserError, naming what it is instead if that is known, unless the file has this SHA-256."""
    if (digest := sha256(path)) != sha:
        others = [s.name for s in SETS.values() for file in s.files if digest in file.names.values()]
        what = f"it is the one of {others[0]}" if others else f"its SHA-256 is {digest}, not {sha}"
        raise UserError(f"{path} is not the file that {official.name} is published as: {what}. {_wanted(official)}")


def _download(official: OfficialSet, log: Callable[[str], None]) -> list[Path]:
    """The set's files in a folder of their own below the data folder; whole and verified ones are kept from before."""
    folder = data_dir() / "downloads" / "fcnn" / official.name
    paths = [folder / file.name for file in official.files]
    for file, path in zip(official.files, paths, strict=True):
        sha = file.names[file.name]
        if path.exists() and sha256(path) == sha:
            continue
        path.unlink(missing_ok=True)
        download(file.url, path, name=official.name, digest=sha or "", hint=_wanted(official), log=log)
    return paths
