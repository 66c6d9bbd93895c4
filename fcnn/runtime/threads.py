"""How many threads compute on a CPU: with two cores, XLA's own pool has one.

XLA goes on with a program in whichever thread of its pool was the last to finish, and each thread that calls oneDNN has
a team of OpenMP threads of its own, which libgomp lets sleep between calls where they are more than cores. With one
thread in the pool fewer threads take turns: where virtual processors are shared, and waking one takes long, a
ResNet-20's step took 424 ms instead of 657. What XLA computes between the calls takes one core then, which is why more
than two cores keep the pool.
"""

import os

from fcnn.nn import cpu_convolutions
from fcnn.runtime import memory
from fcnn.utils.cores import cores


def one_pool_thread() -> None:
    """Has XLA's pool for CPUs be of one thread where that is faster; to be called before JAX starts its threads.

    Nothing happens where JAX would compute on a GPU or a TPU, where XLA computes the convolutions, nor where NPROC, by
    which XLA is told, is set already.
    """
    if memory.cpu_only() and cores() == 2 and cpu_convolutions().startswith("oneDNN"):
        os.environ.setdefault("NPROC", "1")
