"""A run's folder: which config and data it belongs to, who is writing to it, and the next free number under `runs/`."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from fcnn.config import Config
from fcnn.config.serialize import differences, from_json, to_json
from fcnn.training.facts import check_facts
from fcnn.utils.errors import UserError
from fcnn.utils.files import TEMPORARY, make_folder, sync_folder, write_bytes
from fcnn.utils.json_file import loads
from fcnn.utils.version import with_version, without_version
from fcnn.zoo import TABLE

if TYPE_CHECKING:
    from fcnn.training.held_out import HeldOut

CONFIG = "config.json"
DATA = "data.json"
SPLITS = "splits.csv"
CHOICE = "strategy.json"
HELD_OUT = "held_out.npz"
LOCK = ".lock"


def read_config(workdir: Path) -> Config:
    """The config of the run in a folder; UserError if there is none."""
    path = workdir / CONFIG
    if not workdir.is_dir():
        raise UserError(f"there is no folder {workdir}")
    if not path.is_file():
        raise UserError(f"{workdir} is not the folder of a run: it has no {CONFIG}")
    return from_json(path.read_bytes(), str(path))


def resolved(config: Config) -> Config:
    """The config with absolute paths, links resolved: the same from whatever folder a command is started."""
    data, weights = config.data, config.transfer.weights
    if data.name.startswith("folder:"):
        data = dataclasses.replace(data, name=f"folder:{_absolute(data.name.removeprefix('folder:'))}")
    paths = {name: getattr(data, name) for name in ("corrections", "splits", "manual_dir")}
    data = dataclasses.replace(data, **{name: _absolute(path) for name, path in paths.items() if path is not None})
    if weights is not None and weights not in TABLE:
        weights = _absolute(weights)
    return dataclasses.replace(config, data=data, transfer=dataclasses.replace(config.transfer, weights=weights))


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def with_data(config: Config, name: str) -> Config:
    """The config with other data, or the same in another place."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, name=name))


def check(workdir: Path, config: Config) -> None:
    """UserError if the folder holds a run with another config, or files that aren't a run's, or if no checkpoint can be
    read from a path like this; changes nothing."""
    check_path(workdir, "--workdir")
    if (workdir / CONFIG).exists():
        before = read_config(workdir)
        if (workdir / SPLITS).exists() and all(c.data.name.startswith("folder:") for c in (before, config)):
            # Moved images are compared file by file when they are loaded.
            before = with_data(before, config.data.name)
        if different := differences(before, config):
            raise UserError(
                f"{workdir} holds a run with another config ({'; '.join(different)}); take another --workdir"
            )
    elif workdir.exists() and (not workdir.is_dir() or any(not _is_first(path) for path in workdir.iterdir())):
        raise UserError(f"{workdir} exists and is not the folder of a run; take another --workdir")


def _is_first(path: Path) -> bool:
    """Whether a file is there before the config is, and stays if the process is killed then."""
    return path.name in (LOCK, CHOICE, HELD_OUT) or path.match(TEMPORARY)


def check_path(folder: Path, option: str) -> None:
    """UserError if Orbax could write checkpoints into a folder, and not read them again."""
    path = folder.absolute().as_posix()
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path} is not UTF-8, which checkpoints need; take another {option}") from None
    if signs := [sign for sign in "[*?\\" if sign in path]:  # its libraries take them for patterns
        raise UserError(
            f"{path} holds {' '.join(signs)}, and checkpoints could not be read from there; take another {option}"
        )


def read_data(workdir: Path) -> dict[str, Any] | None:
    """What the run in a folder keeps of its data (`Dataset.facts`); None before it has any; UserError if the file is
    damaged."""
    facts = _read(workdir / DATA)
    return None if facts is None else check_facts(facts, workdir / DATA)


def read_splits(workdir: Path) -> bytes:
    """Returns the list of the files in each split of a run; UserError if there is none."""
    path = workdir / SPLITS
    if not path.is_file():
        raise UserError(f"{path} is missing; it says which images the run was trained on")
    return path.read_bytes()


def check_same_overrides(
    workdir: Path, facts: dict[str, Any], names: Sequence[str], *, needed: Sequence[str] | None = None
) -> None:
    """UserError unless `names` are those of what the user passed when the run began; of these, the `needed` ones."""
    before = [name for name in facts.get("overrides", ()) if needed is None or name in needed]
    now = [name for name in names if needed is None or name in needed]
    if missing := [name for name in before if name not in now]:
        raise UserError(
            f"the run in {workdir} was trained with your own {' and '.join(missing)}: pass the same again, or "
            "the preset that defines it with --config FILE.py"
        )
    if extra := [name for name in now if name not in before]:
        raise UserError(f"the run in {workdir} was trained without your own {' and '.join(extra)}")


def write_data(workdir: Path, facts: dict[str, Any], splits: bytes | None) -> None:
    """Keeps them, each whole or not at all, unless they are there: a run's data stay what they were when it began.

    Args:
      facts: `Dataset.facts`, and under "overrides" the names of what the user passed.
      splits: which file is in which split (`fcnn.data.manifest`), where there are files.
    """
    if (workdir / DATA).exists():
        return
    if splits is not None:
        write_bytes(workdir / SPLITS, splits)
    _write(workdir / DATA, facts)  # last: where it is, both are


def read_choice(workdir: Path) -> dict[str, Any] | None:
    """Which strategy `transfer.strategy auto` has chosen for the run in a folder, and why (`auto.Choice`); None before
    it has. UserError if the file is damaged."""
    choice, path = _read(workdir / CHOICE), workdir / CHOICE
    if choice is not None and not (
        choice.get("strategy") in ("full", "pretrained") and isinstance(choice.get("reason"), str)
    ):
        raise UserError(f"{path} is damaged; delete it, and the strategy is chosen again, from the same images")
    return choice


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        values = without_version(loads(path.read_bytes()))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: it must be an object of fields")
    return values


def _write(path: Path, signs: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(with_version(signs), indent=1) + "\n").encode())


@contextlib.contextmanager
def claim(
    workdir: Path, config: Config, choice: Mapping[str, Any] | None = None, held_out: "HeldOut | None" = None
) -> Iterator[None]:
    """Makes the folder if need be, writes its config, and how it was chosen if it was, and keeps every other run out of
    the folder while the context lasts."""
    make_folder(workdir)
    try:
        lock = FileLock(workdir / LOCK).acquire(timeout=0)
    except Timeout:
        raise UserError(f"another run is writing to {workdir}; wait for it or take another --workdir") from None
    with lock:
        if choice is not None and not (workdir / CONFIG).exists():
            _write(workdir / CHOICE, choice)
            if held_out is not None:
                from fcnn.training.held_out import write_held_out  # needs jax

                write_held_out(workdir, held_out)
        write_bytes(workdir / CONFIG, to_json(config).encode())
        yield


def fresh(parent: Path, name: str) -> Path:
    """Makes the first folder of `parent/name-001`, `-002`, ... that doesn't exist yet."""
    make_folder(parent)
    number = 1
    while True:
        path = parent / f"{name}-{number:03d}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            sync_folder(parent)
            return path
        number += 1
