"""Where arrays live and how a step is compiled: the only file that knows meshes.

One program runs on all local devices. The state and the data set are on every device, a batch is cut along its first
axis, and jit sees the whole batch: batch norm's statistics and the gradients are those of one large device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fcnn.errors import UserError
from fcnn.nn import cpu_convolutions

DATA_AXIS = "data"


def make_mesh() -> Mesh:
    """All devices in a row, along which batches are cut."""
    return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def check_divides(batch_size: int, mesh: Mesh, name: str) -> None:
    """UserError, with the nearest sizes that would do, unless the batch divides over the devices."""
    devices = mesh.size
    if batch_size % devices:
        below, above = batch_size // devices * devices, -(-batch_size // devices) * devices
        near = f"{below} or {above}" if below else f"{above}"
        raise UserError(f"{name} {batch_size} does not divide over {devices} devices; the nearest that does: {near}")


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
    """Cut along the first axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts every array of a tree on every device."""
    return jax.device_put(tree, replicated(mesh))


def shard(tree: Any, mesh: Mesh) -> Any:
    """Puts a slice of every array of a tree, along its first axis, on each device."""
    return jax.device_put(tree, sharded(mesh))


def convolutions(mesh: Mesh) -> str:
    """What computes the convolutions of a program on these devices, for people and records: "oneDNN 3.2.0", "XLA"."""
    on_one_cpu = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
    return cpu_convolutions() if on_one_cpu else "XLA"


def compile_step(step: Callable, *args: Any, donate: bool) -> Callable:
    """Compiles `step` for arguments placed like `args`; called with any others, what comes back is an error.

    There is no second trace: a compiled program can't retrace. The first argument's memory becomes the output's if
    `donate`. Results are on every device.
    """
    mesh = jax.tree.leaves(args)[0].sharding.mesh
    jitted = jax.jit(step, donate_argnums=(0,) if donate else (), out_shardings=replicated(mesh))
    compiled = jitted.lower(*args).compile()
    if mesh.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return compiled
    # Several CPU devices share one pool of threads. Programs queued behind each other can take all of them while each
    # waits for the others in an all-reduce, and XLA then aborts the process: one at a time.
    return lambda *args: jax.block_until_ready(compiled(*args))


def to_host(tree: Any) -> Any:
    """Waits for a tree's arrays and copies them to the host as NumPy arrays, all at once."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


@jax.jit
def _finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def all_finite(tree: Any) -> bool:
    """Whether every floating-point number of a tree is finite."""
    return bool(_finite([leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]))
