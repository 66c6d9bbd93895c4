"""A run's folder: which config and data it belongs to, who is writing to it, and the next free number under `runs/`."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fcnn.config import Config
from fcnn.config_json import differences, from_json, to_json
from fcnn.errors import UserError
from fcnn.files import write_bytes

CONFIG = "config.json"
DATA = "data.json"
CHOICE = "strategy.json"
LOCK = ".lock"


def read_config(workdir: Path) -> Config:
    """The config of the run in a folder; UserError if there is none."""
    path = workdir / CONFIG
    if not workdir.is_dir():
        raise UserError(f"there is no folder {workdir}")
    if not path.is_file():
        raise UserError(f"{workdir} is not the folder of a run: it has no {CONFIG}")
    return from_json(path.read_text(encoding="utf-8"), str(path))


def check(workdir: Path, config: Config) -> None:
    """UserError if the folder holds a run with another config, or files that aren't a run's; changes nothing."""
    if (workdir / CONFIG).exists():
        if different := differences(read_config(workdir), config):
            raise UserError(
                f"{workdir} holds a run with another config ({'; '.join(different)}); take another --workdir"
            )
    elif workdir.exists() and (not workdir.is_dir() or any(path.name != LOCK for path in workdir.iterdir())):
        raise UserError(f"{workdir} exists and is not the folder of a run; take another --workdir")


def read_data(workdir: Path) -> dict[str, Any] | None:
    """What the run in a folder keeps of its data (`Dataset.facts`); None before it has any."""
    return _read(workdir / DATA)


def write_data(workdir: Path, facts: dict[str, Any]) -> None:
    """Keeps them, whole or not at all."""
    _write(workdir / DATA, facts)


def read_choice(workdir: Path) -> dict[str, Any] | None:
    """Which strategy `transfer.strategy auto` has chosen for the run in a folder, and why (`fcnn.auto.Choice`); None
    before it has."""
    return _read(workdir / CHOICE)


def write_choice(workdir: Path, choice: dict[str, Any]) -> None:
    """Keeps it, whole or not at all: a run that goes on must not choose anew."""
    _write(workdir / CHOICE, choice)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _write(path: Path, found: dict[str, Any]) -> None:
    write_bytes(path, (json.dumps(found, indent=1) + "\n").encode())


@contextlib.contextmanager
def claim(workdir: Path, config: Config) -> Iterator[None]:
    """Makes the folder if need be, writes its config, and keeps every other run out of it while the context lasts."""
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(workdir / LOCK).acquire(timeout=0)
    except Timeout:
        raise UserError(f"another run is writing to {workdir}; wait for it or take another --workdir") from None
    with lock:
        write_bytes(workdir / CONFIG, to_json(config).encode())
        yield


def fresh(parent: Path, name: str) -> Path:
    """Makes the first folder of `parent/name-001`, `-002`, ... that doesn't exist yet."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / f"{name}-{number:03d}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
        number += 1
