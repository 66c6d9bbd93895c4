"""Convolutions by oneDNN, the library that PyTorch uses on a CPU: XLA's own take two to five times as long there.

    fast_conv.py   which convolutions are meant, under the arguments of `lax.conv_general_dilated`
    primitive.py   what JAX knows of them: derivatives, vmap, and the choice when a program is lowered
    handler.py     what XLA calls, by its interface for custom calls
    plan.py        oneDNN's primitives for one shape
    library.py     oneDNN's C functions

The choice between oneDNN and XLA is made when a program is lowered. oneDNN it is in a program for one CPU device, or
for each of several in `shard_map` and `pmap`, if it has an implementation for the shape in float32. In a program for
a GPU, a TPU, or several CPU devices under one `jit`, it's XLA, which can cut its own convolutions into parts; so it is
in `jax.export`, since what is exported may run where there is no oneDNN.

oneDNN comes as a wheel, `onednn-cpu-gomp`, for x86-64 Linux. Where it's missing or can't be loaded, and with
`FCNN_CPU_CONV=lax` in the environment, XLA computes everything, to the same results up to rounding.

A compiled program calls back into Python for each convolution, 40 microseconds, and lets other Python threads run while
oneDNN computes. A thread that computes in Python all the time makes each call wait for its turn, up to
`sys.getswitchinterval()`, 5 ms. oneDNN runs as many threads as there are cores, or `OMP_NUM_THREADS`.

>>> cpu_convolutions().split()[0] in ("oneDNN", "XLA")
True
"""

from fcnn.nn.onednn.primitive import cpu_convolutions

__all__ = ["cpu_convolutions"]
