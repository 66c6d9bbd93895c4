"""Standard output and error that nobody reads any more: `head` has seen enough, the terminal was closed."""

import contextlib
import os
import select
import stat
import sys
from typing import TextIO

EXIT_CODE = 141
"""What a shell shows for a program whose reader has left: 128 + SIGPIPE."""


def silence_lost() -> bool:
    """Sends the streams that can't be written any more to nowhere: another write, as Python's own flush at the end,
    would be an error.

    Returns:
      Whether there was one; if not, a BrokenPipeError came from somewhere else.
    """
    lost = [stream.fileno() for stream in (sys.stdout, sys.stderr) if stream is not None and _is_lost(stream)]
    for number in lost:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    return bool(lost)


def _is_lost(stream: TextIO) -> bool:
    with contextlib.suppress(OSError, ValueError):  # not a file, as under pytest, or closed
        number = stream.fileno()
        kind = os.fstat(number).st_mode
        if stat.S_ISCHR(kind):
            # A terminal that was closed is none any more.
            return not os.isatty(number) and not os.path.samestat(os.fstat(number), os.stat(os.devnull))
        if not hasattr(select, "poll"):  # Windows
            return stat.S_ISFIFO(kind)
        waiting = select.poll()
        waiting.register(number, 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))
    return False
