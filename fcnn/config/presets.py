"""Finding a preset: a shipped one by name, one's own by path. Standard library only, for a quick answer to a typo."""

import dataclasses
import functools
import re
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcnn.config import schema as options
from fcnn.config.schema import Config
from fcnn.config.serialize import check_types
from fcnn.utils.errors import UserError, unknown

HOOKS = ("model", "dataset", "optimizer", "augment", "loss", "callbacks")
"""Functions of the config that a preset file may define; `fcnn.train` says what each returns."""


def folder() -> Path:
    """Where the shipped presets are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> list[str]:
    """The shipped presets."""
    return sorted(path.stem for path in folder().glob("*.py"))


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a preset file defines."""

    config: Config
    path: Path
    hooks: dict[str, Callable[[Config], Any]]
    """What the file defines of HOOKS: functions of the config, as it is after the command line's options."""

    def call(self, name: str, config: Config) -> Any:
        """Returns what a hook gives for a config; None if the file doesn't define it.

        Raises:
          UserError: it failed.
        """
        try:
            return self.hooks[name](config) if name in self.hooks else None
        except (Exception, SystemExit) as error:  # the file is the user's own program
            raise _failed(self.path, error) from error

    def callbacks(self, config: Config) -> Any:
        """Returns those that the file defines for a config; UserError, as they are called, if one fails."""
        callbacks = self.call("callbacks", config) or ()
        return [self._guarded(one) for one in callbacks] if isinstance(callbacks, list | tuple) else callbacks

    def _guarded(self, callback: Any) -> Any:
        @functools.wraps(callback)
        def call(record: Any) -> Any:
            try:
                return callback(record)
            except Exception as error:  # a function of the user's may raise anything
                raise _failed(self.path, error) from error

        return call if callable(callback) else callback


def read_preset(name: str) -> Preset:
    """Returns what a shipped preset (`resnet`) or a Python file (`path/to/mine.py`) defines: CONFIG, and of HOOKS what
    the user brings.

    Raises:
      UserError: there is no such preset, or it doesn't define a `Config` that could work.
    """
    path = Path(name) if name.endswith(".py") else folder() / f"{name}.py"
    if not path.is_file():
        if name.endswith(".py"):
            raise UserError(f"no preset file {name}")
        raise UserError(unknown("preset", name, names()) + " (or give the path of a .py file)")
    if name.endswith(".py") and (beside := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, beside)  # as `python FILE` does: a model of one's own is often in a file of its own
    try:
        defined = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # the file is the user's own program
        raise _failed(path, error) from None
    config = defined.get("CONFIG")
    if not isinstance(config, Config):
        raise UserError(f"{path} must define CONFIG = Config(...), from fcnn.config")
    try:
        check_types(config)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    hooks = {hook: defined[hook] for hook in HOOKS if hook in defined}
    if wrong := [hook for hook, function in hooks.items() if not callable(function)]:
        raise UserError(f"{path}: {wrong[0]} must be a function of the config")
    return Preset(config, path, hooks)


def load_preset(name: str) -> Config:
    """Returns the `CONFIG` of a preset; the argument and the errors are those of `read_preset`."""
    return read_preset(name).config


def _failed(path: Path, error: BaseException) -> UserError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return UserError(f"{path}, line {lines[-1]}: {_reason(error)}" if lines else f"{path}: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """What was wrong; of a field that a part of the config doesn't have, the nearest that it has."""
    match = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    kind = getattr(options, match[1], None) if match else None
    if match is None or not dataclasses.is_dataclass(kind):
        return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
    return unknown(f"field of {match[1]}", match[2], (field.name for field in dataclasses.fields(kind)))
