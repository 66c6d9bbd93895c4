"""Where arrays live and how a step is compiled.

The state and the data set are on every device, a batch is cut along its first axis. What runs is either one program for
all devices, which jit lets see the whole batch: batch norm's statistics and the gradients are those of one large
device. Or it is one for each device, which sees its share of the batch: a step that takes its sums over the axis named
here. pmap makes the latter, and so does jit where batch norm is to keep to a device's share.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fcnn.config import ParallelConfig, TrainConfig
from fcnn.distributed.device_memory import check_fits
from fcnn.distributed.pmap import compile_pmap
from fcnn.nn import cpu_convolutions
from fcnn.runtime.memory import StepMemory
from fcnn.utils.batch import Batch
from fcnn.utils.errors import UserError

DATA_AXIS = "data"
JIT = ParallelConfig()


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """All devices of all processes, or those given, in a row along which batches are cut; those of a process stand
    together."""
    devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def check_divides(batch_size: int, mesh: Mesh, name: str) -> None:
    """UserError, with the nearest sizes that would do, unless the batch divides over the devices."""
    devices = mesh.size
    if batch_size % devices:
        below, above = batch_size // devices * devices, -(-batch_size // devices) * devices
        near = f"{below} or {above}" if below else f"{above}"
        raise UserError(f"{name} {batch_size} does not divide over {devices} devices; the nearest that does: {near}")


def check_batch_sizes(train: TrainConfig, mesh: Mesh) -> None:
    """UserError unless every batch divides over the devices."""
    name = "train.batch-size" if train.grad_accum_steps == 1 else "train.batch-size / train.grad-accum-steps ="
    check_divides(train.batch_size // train.grad_accum_steps, mesh, name)
    check_divides(train.eval_batch_size, mesh, "train.eval-batch-size")


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
    """Cut along the first axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts every array of a tree on every device. Each process has the same tree."""
    return _put(tree, replicated(mesh))


def shard(tree: Any, mesh: Mesh) -> Any:
    """Puts a slice of every array of a tree, along its first axis, on each device. Each process has the same tree."""
    return _put(tree, sharded(mesh))


def assemble(tree: Any, mesh: Mesh) -> Any:
    """Like `shard`, of slices: the processes' arrays, one after the other, are the whole."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharded(mesh), x), tree)


def abstract(tree: Any, sharding: NamedSharding) -> Any:
    """A tree's arrays, or descriptions of them, as descriptions (`jax.ShapeDtypeStruct`) of arrays placed like this."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _put(tree: Any, sharding: NamedSharding) -> Any:
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    # device_put would compare the processes' arrays first, one by one over the network.
    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x  # it is there already
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def step_axis(parallel: ParallelConfig) -> str | None:
    """The axis over which a training step takes its sums; None where its one program sees the whole batch."""
    return DATA_AXIS if parallel.mode == "pmap" or parallel.batch_norm == "per_device" else None


def number(batch: Batch, axis_name: str | None) -> Batch:
    """Inside a step: a share that is numbered from 0 gets the positions in the global batch."""
    if axis_name is None:
        return batch
    return {**batch, "index": batch["index"] + jax.lax.axis_index(axis_name) * batch["index"].shape[0]}


def convolutions(mesh: Mesh, parallel: ParallelConfig) -> str:
    """What computes the convolutions of a training step, for people and records: "oneDNN 3.2.0", "XLA"."""
    whole = mesh.size == 1 or step_axis(parallel) is not None  # whether a device's program sees whole arrays
    return cpu_convolutions() if whole and mesh.devices.flat[0].platform == "cpu" else "XLA"


def compile_step(step: Callable, *args: Any, donate: bool, parallel: ParallelConfig = JIT) -> Callable:
    """Compiles `step` for arguments placed like `args`; called with any others, what comes back is an error.

    There is no second trace: a compiled program can't retrace. The first argument's memory becomes the output's if
    `donate`. Results are on every device. With `step_axis(parallel)` each device runs `step` on its share of what is
    sharded and on all of what is replicated, and every result must be the same on all devices.
    """
    mesh = jax.tree.leaves(args)[0].sharding.mesh
    if parallel.mode == "pmap":
        return _one_at_a_time(compile_pmap(step, args, mesh, DATA_AXIS, donate=donate), mesh)
    return _one_at_a_time(trace_step(step, *args, donate=donate, parallel=parallel).lower().compile(), mesh)


def trace_step(step: Callable, *args: Any, donate: bool, parallel: ParallelConfig = JIT) -> jax.stages.Traced:
    """Traces what `compile_step` compiles in mode jit. No array is made: `args` may be abstract, on devices that
    aren't here."""
    mesh = jax.tree.leaves(args)[0].sharding.mesh
    if step_axis(parallel) is not None:
        specs = jax.tree.map(lambda arg: arg.sharding.spec, args)
        # Unchecked, the gradient by what is replicated is a device's own, as the step expects it: it adds them up.
        step = jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
    return jax.jit(step, donate_argnums=(0,) if donate else (), out_shardings=replicated(mesh)).trace(*args)


def _one_at_a_time(compiled: Callable, mesh: Mesh) -> Callable:
    """`compiled`, on CPUs waited for: there no two programs run faster than one after the other."""
    check_fits(_works_in(compiled), mesh, "a step works in", "take smaller batches or images, or a smaller network")
    if mesh.devices.flat[0].platform != "cpu":
        return compiled
    if mesh.size > 1:
        # Several CPU devices share one pool of threads. Programs queued behind each other can take all of them while
        # each waits for the others in an all-reduce, and XLA then aborts the process.
        return lambda *args: jax.block_until_ready(compiled(*args))
    running: Any = None
    memory = StepMemory(_works_in(compiled))

    def behind_the_last(*args: Any) -> Any:
        """The host is free until the next call; a program that only waits would hold memory of its own."""
        nonlocal running
        if running is not None and not running.is_deleted():
            running.block_until_ready()
            memory.between_runs()
        results = compiled(*args)
        running = jax.tree.leaves(results)[-1]
        return results

    return behind_the_last


def _works_in(compiled: Callable) -> int:
    """The bytes that a program needs beside its arguments and results; 0 if it doesn't say."""
    stats = compiled.memory_analysis() if isinstance(compiled, jax.stages.Compiled) else None
    return stats.temp_size_in_bytes if stats else 0


def largest(mesh: Mesh) -> Callable[[int], jax.Array]:
    """Compiles a function that returns the largest of the numbers, 0 or more, that the processes pass to it."""
    sharding, local = sharded(mesh), mesh.local_mesh.size

    def hand_in(number: int) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, np.full(local, number, np.int32))

    compiled = compile_step(jnp.max, hand_in(0), donate=False)
    return lambda number: compiled(hand_in(number))


def to_host(tree: Any) -> Any:
    """Waits for a tree's arrays and copies them to the host as NumPy arrays, all at once."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


@jax.jit
def _finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def all_finite(tree: Any) -> bool:
    """Whether every floating-point number of a tree is finite."""
    return bool(_finite([leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]))
