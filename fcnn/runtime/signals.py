"""Ctrl-C, SIGTERM and a closed terminal as a request to stop: what is done ends, or the step is finished and saved
first. A second one ends the process at once."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import Any

from fcnn.runtime.streams import silence_lost

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
REPEAT = 128
"""Added to a number: this signal is to be given again by the thread that listens."""
LOADS = (ExtensionFileLoader.create_module.__code__, ExtensionFileLoader.exec_module.__code__)
"""Where code in C begins that may abort the process when Python raises."""


class Stopped(KeyboardInterrupt):
    """The process was asked to stop. Exit code 128 + signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interrupted(Stopped):
    """A run was asked to stop, and has saved its state."""


class Interrupt:
    """While the context lasts, the first signal raises Stopped in the main thread or, within `deferred`, is remembered
    in `received`; another SIGINT or SIGTERM ends the process.

    Where nothing can be raised, in what the garbage collector calls or while an extension in C is loaded, Stopped comes
    a moment later. What was ignored before stays ignored, as SIGHUP under `nohup`. In another thread than the main one
    nothing changes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._is_repeated = False
        self._doing: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is not threading.main_thread():
            return self
        # A thread announces and ends: while XLA compiles, the main thread runs no signal handler.
        receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._descriptor_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, args=(receiver,), name="fcnn-signals", daemon=True)
        self._thread.start()
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._handle)
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        sys.unraisablehook = self._hook_before
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._descriptor_before)
        self._sender.close()  # which ends the thread, once it has announced what came
        self._thread.join(1)

    @contextlib.contextmanager
    def deferred(self, doing: str) -> Iterator[None]:
        """Only remembers a signal while the context lasts; whoever is in it looks at `received`.

        Args:
          doing: what has to come to its end first: "finishing the step, then saving".

        Raises:
          Stopped: at the end, if a signal was received and nobody did anything about it.
        """
        self._doing = doing
        try:
            yield
        finally:
            self._doing = None
        if self.received is not None:
            raise Stopped(self.received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None or self._is_repeated:
            self.received, self._is_repeated = number, False
            if self._doing is None:
                if _loads_extension(frame):
                    self._repeat()
                else:
                    raise Stopped(number)

    def _on_unraisable(self, unraisable: Any) -> None:
        """Python's hook for what nobody can catch."""
        if isinstance(unraisable.exc_value, Stopped):
            self._repeat()
        else:
            self._hook_before(unraisable)

    def _repeat(self) -> None:
        if self.received is not None:
            self._is_repeated = True
            self._sender.send(bytes([REPEAT + self.received]))

    def _listen(self, receiver: socket.socket) -> None:
        """Announces the first signal and obeys the second. The handler is called whenever Python gets to it."""
        announced, repeated = False, 0
        with receiver:
            while numbers := receiver.recv(64):
                for number in numbers:
                    if number > REPEAT:
                        time.sleep(0.01)  # for what can't raise to end
                        repeated += 1
                        _send_to_main_thread(number - REPEAT)
                    elif number not in SIGNALS:
                        continue
                    elif repeated:
                        repeated -= 1
                    elif announced:
                        self._stop_at_once(number)
                    else:
                        announced = True
                        silence_lost()
                        name = signal.Signals(number).name
                        _announce(f"\n{name}: {self._doing or 'stopping'}; once more stops at once.\n")

    def _stop_at_once(self, number: int) -> None:
        silence_lost()
        if number != getattr(signal, "SIGHUP", None):  # a terminal that closes sends two of those
            _announce("\nStopped at once; the last whole checkpoint stays.\n" if self._doing else "\n")
            os._exit(128 + number)  # nothing may hold it up; a checkpoint half written is ignored later


def _announce(text: str) -> None:
    """Writes past Python's standard error: the main thread may be in the middle of using it."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def _loads_extension(frame: FrameType | None) -> bool:
    """Whether Python is loading a module written in C, which may call Python and abort the process when that raises."""
    while frame is not None and frame.f_code not in LOADS:
        frame = frame.f_back
    return frame is not None


def _send_to_main_thread(number: int) -> None:
    """Gives it a signal again, which also ends a call that waits."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # Windows
        signal.raise_signal(number)
