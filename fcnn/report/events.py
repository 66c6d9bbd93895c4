"""Scalars as TensorBoard events.

They are written by the thread that has them. A writer with a thread of its own dies of a full disk with a traceback,
and whoever fills its queue then waits for ever.
"""

import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcnn.utils.files import append


class EventFile:
    """A file of events in a folder, which is made if need be.

    Args:
      purge_step: what earlier files have from this step on is hidden.

    Raises:
      OSError: it can't be written; so do the methods.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._event, self._session, self._scalar, self._checksum = _tensorboard()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        self._file = path.open("ab", buffering=0)
        start = self._session(status=self._session.START)
        append(self._file, self._frame(file_version="brain.Event:2"))
        append(self._file, self._frame(step=purge_step, session_log=start))

    def write(self, step: int, when: float, values: Mapping[str, float]) -> None:
        """Appends values by name; `when` in seconds since 1970, UTC."""
        scalars = (self._scalar(name, value) for name, value in values.items())
        frames = [self._frame(step=step, wall_time=when, summary=scalar) for scalar in scalars]
        append(self._file, b"".join(frames))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _frame(self, **fields: Any) -> bytes:
        """Returns an event as TensorFlow frames records."""
        data = self._event(**({"wall_time": time.time()} | fields)).SerializeToString()
        head = struct.pack("<Q", len(data))
        sums = [struct.pack("<I", self._checksum(part)) for part in (head, data)]
        return head + sums[0] + data + sums[1]


def _tensorboard() -> tuple[Any, ...]:
    """Returns what makes events and their checksums, without an import of PyTorch, which takes 3 seconds."""
    modules: dict[str, Any] = sys.modules
    unused = "torch" not in modules
    if unused:
        modules["torch"] = None  # an import of it fails, which tensorboardX expects
    try:
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
        from tensorboardX.record_writer import masked_crc32c
        from tensorboardX.summary import scalar
    finally:
        if unused:
            del modules["torch"]
    return Event, SessionLog, scalar, masked_crc32c
