"""Ctrl-C and SIGTERM as a request: finish the step, save, say how to go on. A second signal stops at once."""

import os
import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A run was asked to stop and has saved its state. Exit code 128 + signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interrupt:
    """While the context lasts, the first SIGINT or SIGTERM is remembered in `received`; the second ends the process."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.doing = "loading the checkpoint and compiling first"
        """What has to come to its end before the state is saved; the loop keeps it true."""

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            sys.stderr.write("\nStopped at once; the last whole checkpoint stays.\n")
            sys.stderr.flush()
            os._exit(128 + number)  # nothing may hold it up; a checkpoint half written is ignored by the next run
        self.received = number
        sys.stderr.write(f"\n{signal.Signals(number).name}: {self.doing}, then saving; once more stops at once.\n")
        sys.stderr.flush()
