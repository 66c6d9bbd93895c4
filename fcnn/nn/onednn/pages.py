"""Large pages for what a step writes: XLA asks the kernel for fresh memory each step, and gets it page by page.

Each page of 4 KiB that is touched for the first time costs an interrupt. They took a fifth of the CPU time of a
ResNet-20's step (60,000 pages); with pages of 2 MiB, where the kernel has any, half of that is gone.
"""

import ctypes
import functools
from ctypes import c_int, c_size_t, c_void_p
from typing import Any

LARGE = 2 << 20
"""Bytes of a large page, of x86-64."""
_HUGEPAGE = 14  # MADV_HUGEPAGE, linux/mman.h


def ask(address: int, size: int) -> None:
    """Asks the kernel to use large pages for memory that is about to be written; whether it does is its own affair.

    Args:
      address: where the memory begins.
      size: in bytes.
    """
    # Up to the ends of the outermost pages: one is large only if all of it belongs to one allocation.
    start = address // LARGE * LARGE
    end = -(-(address + size) // LARGE) * LARGE
    _madvise()(start, end - start, _HUGEPAGE)


@functools.cache
def _madvise() -> Any:
    function = ctypes.PyDLL(None).madvise
    function.argtypes = c_void_p, c_size_t, c_int
    return function
