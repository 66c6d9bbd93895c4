"""How many threads compute on a CPU: with two cores, XLA's own pool has one, so that oneDNN's two stay awake.

XLA goes on with a program in whichever thread of its pool was the last to finish, and each thread that calls oneDNN has
a team of OpenMP threads of its own. libgomp then sees more threads than cores and lets those that wait sleep at once:
each convolution begins and ends by waking one. With one thread in the pool there is one team, which spins from one call
to the next. What XLA computes between the calls takes one core then, which is why more than two cores keep the pool.
"""

import os

from fcnn import memory
from fcnn.nn import cpu_convolutions


def one_pool_thread() -> None:
    """Has XLA's pool for CPUs be of one thread where that is faster; to be called before JAX starts its threads.

    Nothing happens where JAX would compute on a GPU or a TPU, where XLA computes the convolutions, nor where NPROC, by
    which XLA is told, is set already.
    """
    if memory.cpu_only() and _cores() == 2 and cpu_convolutions().startswith("oneDNN"):
        os.environ.setdefault("NPROC", "1")


def _cores() -> int | None:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
