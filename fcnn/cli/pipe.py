"""A reader that leaves, as `head` does: the command ends without a word, as other programs do."""

import os
import select
import sys
from typing import TextIO

EXIT_CODE = 141
"""What a shell shows for a program that SIGPIPE has ended: 128 + 13."""


def silence_unread() -> bool:
    """Sends standard output and error, where nobody reads them any more, to nowhere, so that Python's own flush at the
    end has nothing to complain about.

    Returns:
      Whether there was one; if not, a BrokenPipeError came from somewhere else.
    """
    unread = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and _is_unread(stream)]
    for stream in unread:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(unread)


def _is_unread(stream: TextIO) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return True
    try:
        number = stream.fileno()
    except OSError:  # not a file, as under pytest
        return False
    waiting = select.poll()
    waiting.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))
