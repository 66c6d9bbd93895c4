"""Standard output and error that can't be written: `head` has seen enough, the terminal was closed, a disk is full."""

import contextlib
import errno
import os
import select
import stat
import sys
from typing import TextIO

EXIT_CODE = 141
"""What a shell shows for a program whose reader has left: 128 + SIGPIPE."""
LEFT = (errno.EPIPE, errno.EIO)
"""Errors of a stream whose reader has left."""
FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))
"""Errors of a stream that goes into a file for which there is no space."""


def open_closed() -> None:
    """Opens the standard streams that were closed (`>&-`) on the null device: the next file would get the number of
    one, and what libraries print would land in it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115  # for as long as the process lives


def silence_lost() -> bool:
    """Sends the streams that can't be written any more to nowhere: another write, as Python's own flush at the end,
    would be an error.

    Returns:
      Whether there was one; if not, a BrokenPipeError came from somewhere else.
    """
    lost = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and _is_lost(stream)]
    for stream in lost:
        _silence(stream)
    return bool(lost)


def silence_full() -> bool:
    """Does the same for standard output and error that go where there is no space any more; returns whether output did.

    Not for a thread beside the main one: it would wait for a reader that is slow.
    """
    found = []
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
            os.write(stream.fileno(), b"" if stream is sys.stderr else b"\n")  # whether there is space shows in a byte
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) in FULL:
                _silence(stream)
                found.append(stream)
    return sys.stdout in found


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _is_lost(stream: TextIO) -> bool:
    with contextlib.suppress(OSError, ValueError):  # not a file, as under pytest, or closed
        number = stream.fileno()
        kind = os.fstat(number).st_mode
        if stat.S_ISCHR(kind):
            # A terminal that was closed is none any more.
            known = (os.devnull, "/dev/full")
            here = [os.stat(path) for path in known if os.path.exists(path)]
            return not os.isatty(number) and not any(os.path.samestat(os.fstat(number), one) for one in here)
        if not hasattr(select, "poll"):  # Windows
            return stat.S_ISFIFO(kind)
        waiting = select.poll()
        waiting.register(number, 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))
    return False
