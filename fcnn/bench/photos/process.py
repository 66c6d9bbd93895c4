"""Processes of Python that print a JSON object as their last line, each with caches of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcnn.utils.errors import UserError

_CACHE = ".cache-"


def last_line(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """Runs Python with arguments, and returns the JSON object in the last line that it prints. What it says about
    itself is not shown.

    What fcnn caches, decoded images and compiled programs, goes to a new folder, which is removed: each training does
    all of its work, as the first one on new photographs does, whoever trained on them before.

    Args:
      folder: where that folder is made.

    Raises:
      UserError: it fails; with its last word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_CACHE, dir=folder) as cache:
        path = str(Path(cache).absolute())
        environment = os.environ | {"TFDS_DATA_DIR": path, "JAX_COMPILATION_CACHE_DIR": f"{path}/compiled"}
        command = [sys.executable, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        words = result.stderr.strip().splitlines()[-1:] or ["without a message"]
        raise UserError(f"{' '.join(arguments[1:4])} ended with exit code {result.returncode}: {words[0]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def remove_caches(folder: Path) -> None:
    """Removes the caches in a folder of processes that were killed."""
    for cache in folder.glob(f"{_CACHE}*"):
        shutil.rmtree(cache, ignore_errors=True)
