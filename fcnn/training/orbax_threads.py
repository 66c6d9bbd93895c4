"""The threads and event loops that Orbax leaves behind where a file can't be read or written, brought to their ends."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from orbax.checkpoint._src.futures import future


class _PatientLoop(asyncio.SelectorEventLoop):
    """An event loop that closes only when all of its tasks have ended."""

    def close(self) -> None:
        while not self.is_closed() and (tasks := asyncio.all_tasks(self)):
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        super().close()


_usual_loop = asyncio.new_event_loop
_patient = 0  # contexts that last
_counting = threading.Lock()


@contextlib.contextmanager
def patient_loops() -> Iterator[None]:
    """Within it Orbax waits for every array that it reads or writes, also after one that failed.

    Left to itself it closes its loop at the first that fails, and each array that comes in after that leaves a
    traceback on standard error: its loop is gone.
    """
    global _patient
    with _counting:
        _patient += 1
        asyncio.new_event_loop = _PatientLoop
    try:
        yield
    finally:
        with _counting:
            _patient -= 1
            if not _patient:
                asyncio.new_event_loop = _usual_loop


def end_waiting() -> None:
    """Lets what is left of a save that has failed run to its end: threads that would wait ten minutes for a signal, and
    the process for them. What they write never gets a name."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, future._SignalingThread)]
    for thread in threads:
        future.set_signals(thread._receive_signals, operation_id=thread._operation_id)
    for thread in threads:
        threading.Thread.join(thread, 30)  # its own would raise what has failed
