"""Finding a preset: a shipped one by name, one's own by path. Standard library only, for a quick answer to a typo."""

import dataclasses
import re
import runpy
import traceback
from pathlib import Path

from fcnn.config import schema as options
from fcnn.config.schema import Config
from fcnn.utils.errors import UserError, unknown


def folder() -> Path:
    """Where the shipped presets are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> list[str]:
    """The shipped presets."""
    return sorted(path.stem for path in folder().glob("*.py"))


def load_preset(name: str) -> Config:
    """The `CONFIG` of a shipped preset (`resnet`) or of a Python file (`path/to/mine.py`).

    Raises:
      UserError: there is none, or it doesn't define a `Config` that could work.
    """
    path = Path(name) if name.endswith(".py") else folder() / f"{name}.py"
    if not path.is_file():
        if name.endswith(".py"):
            raise UserError(f"no preset file {name}")
        raise UserError(unknown("preset", name, names()) + " (or give the path of a .py file)")
    try:
        config = runpy.run_path(str(path)).get("CONFIG")
    except Exception as error:  # the file is the user's own program
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}, line {lines[-1]}" if lines else f"{path}"
        raise UserError(f"{where}: {_reason(error)}") from None
    if not isinstance(config, Config):
        raise UserError(f"{path} must define CONFIG = Config(...), from fcnn.config")
    return config


def _reason(error: Exception) -> str:
    """What was wrong; of a field that a part of the config doesn't have, the nearest that it has."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    kind = getattr(options, found[1], None) if found else None
    if found is None or not dataclasses.is_dataclass(kind):
        return f"{type(error).__name__}: {error}"
    return unknown(f"field of {found[1]}", found[2], (field.name for field in dataclasses.fields(kind)))
