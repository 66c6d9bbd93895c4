"""Convolutions and batch norm by oneDNN, as in PyTorch on a CPU: XLA's own take two to five times as long there.

    convolution.py, norm.py    what JAX knows of them: derivatives, vmap, and how they are lowered
    primitive.py               how JAX's primitives are made
    dispatch.py                whether a program that is lowered may call oneDNN, and by which algorithm
    handler.py                 what XLA calls, by its interface for custom calls
    plan.py, *_plan.py         oneDNN's primitives for one shape
    sequence.py, one_thread.py several of them in one call, and the thread that makes it
    winograd.py                the algorithm that multiplies a quarter as much, as matrices
    library.py                 oneDNN's C functions

Models come here by `fcnn/nn/fast_conv.py`, under the arguments of `lax.conv_general_dilated`, by the layer of
`fcnn/nn/norm.py`, and in evaluation by `fcnn/nn/conv_norm_act.py`.

The choice between oneDNN and XLA is made when a program is lowered. oneDNN it is in a program for one CPU device, or
for each of several in `shard_map` and `pmap`, if it has an implementation for the shape in float32. In a program for
a GPU, a TPU, or several CPU devices under one `jit`, it's XLA, which can cut its own convolutions into parts; so it is
in `jax.export`, since what is exported may run where there is no oneDNN.

oneDNN comes as a wheel, `onednn-cpu-gomp`, for x86-64 Linux. Where it's missing or can't be loaded, and with
`FCNN_CPU_CONV=lax` in the environment, XLA computes everything, to the same results up to rounding.

3x3 convolutions of many channels take Winograd's algorithm, as in cuDNN. With 256 channels its results are off by
1.5e-6 of their deviation, oneDNN's of the convolution as written by 8e-7, XLA's by 4e-7; and one infinite pixel makes
nearly all of its image's outputs NaN, not only its neighbors. `jax.default_matmul_precision("highest")`, or that
precision given to the convolution, does without it.

A NaN may not show in an answer: the ReLU of oneDNN that ends a convolution in evaluation makes 0 of it, and the max
pooling of networks with known weights (`fcnn.inference.compiled`) passes over it. `FCNN_CPU_CONV=lax` shows it.

A compiled program calls back into Python for each of them, about 40 microseconds, and lets other Python threads run
while oneDNN computes. A thread that computes in Python all the time makes each call wait for its turn, up to
`sys.getswitchinterval()`, 5 ms. oneDNN runs as many threads as there are cores, or `OMP_NUM_THREADS`. Where the weights
are known, one call computes many layers (`fcnn.inference.compiled`).

>>> cpu_convolutions().split()[0] in ("oneDNN", "XLA")
True
"""

from fcnn.nn.onednn.dispatch import cpu_convolutions

__all__ = ["cpu_convolutions"]
