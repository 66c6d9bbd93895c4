"""Writing a file whole or not at all: after an interruption, what was there before is still there."""

import contextlib
import os
import uuid
from pathlib import Path

from fcnn.utils.errors import UserError


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file, making its folder if need be; UserError if that isn't possible. What was there before stays until
    the new one is whole."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # as where the folder is a file
            temporary.unlink()
        raise UserError(f"{path} can't be written: {error.strerror}") from None
    except BaseException:  # Ctrl-C
        temporary.unlink(missing_ok=True)
        raise
