"""Memory that one step gave back is kept for the next: on a CPU, getting it anew is a tenth of a step's work.

XLA takes what a step works in from malloc, 250 MB for a ResNet-20 with 128 images, and gives it back at the step's end.
glibc hands pieces of that size to the kernel at once, and the kernel clears every page again for the next step.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

MOST = 1 << 30
"""Bytes: what works in more than this gets its memory anew each time, which then is little beside its work."""
SLACK = 64 << 20
"""Bytes by which a process may grow without a reason that matters."""
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # malloc.h

_libc: Any = None  # once memory is kept


def keep_memory() -> None:
    """Has malloc keep what this process frees, for what it will ask for next; to be called before JAX starts its
    threads, since a thread that has a heap of its own doesn't share this one.

    Nothing happens where JAX would compute on a GPU or a TPU, nor where malloc isn't glibc's.
    """
    global _libc
    if not cpu_only():
        return
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return
    mallopt(_ARENA_MAX, 1)  # one heap, which any thread's large piece may come from
    mallopt(_MMAP_MAX, 0)  # and never from the kernel directly
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    _libc = libc


def cpu_only() -> bool:
    """Whether JAX will find no other device, as far as one can know before it looks."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


class StepMemory:
    """What is kept for a program that runs again and again.

    A small piece that outlives the program can lie in the middle of what it worked in, and the next time the program
    needs another place: the heap would grow until luck has it.
    """

    def __init__(self, size: int) -> None:
        """Args:
        size: what the program works in, in bytes.
        """
        self.size = size
        self.trim_above: int | None = 0  # resident bytes; 0, that what compilation left is given back first

    def between_runs(self) -> None:
        """Gives all that is free back to the kernel if it is half as much again as the program needs."""
        if _libc is None:
            return
        if self.size > MOST or (self.trim_above is not None and _resident() > self.trim_above):
            _libc.malloc_trim(0)
            self.trim_above = None
        elif self.trim_above is None:
            self.trim_above = _resident() + self.size // 2 + SLACK


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
