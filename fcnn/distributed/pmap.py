"""A step compiled by `jax.pmap`: the only file that knows it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def compile_pmap(step: Callable, args: tuple[Any, ...], mesh: Mesh, axis_name: str, *, donate: bool) -> Callable:
    """Compiles `step` for arguments placed like `args`, which may be abstract: each device runs it on its share of what
    is sharded and on all of what is replicated. The state has no axis of copies: it's one array, as it is under jit."""
    cut = [axis_name in jax.tree.leaves(arg)[0].sharding.spec for arg in args]

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec(axis_name)))
    def rows(tree: Any) -> Any:
        """(B, ...) -> (devices, B / devices, ...), over which pmap maps; nothing moves between devices."""
        return jax.tree.map(lambda x: x.reshape(mesh.size, -1, *x.shape[1:]), tree)

    def zeros(tree: Any) -> Any:
        """pmap takes no abstract arguments."""

        def zero(x: Any) -> jax.Array:
            return jax.make_array_from_callback(x.shape, x.sharding, lambda index: np.zeros(x.shape, x.dtype)[index])

        return jax.tree.map(zero, tree)

    def arranged(args: Any) -> list[Any]:
        return [rows(arg) if is_cut else arg for arg, is_cut in zip(args, cut, strict=True)]

    axes = tuple(0 if is_cut else None for is_cut in cut)
    donated, devices = (0,) if donate else (), list(mesh.devices.flat)
    mapped: Any = jax.pmap(step, axis_name, in_axes=axes, out_axes=None, devices=devices, donate_argnums=donated)
    examples = [zeros(arg) if is_cut else arg for arg, is_cut in zip(args, cut, strict=True)]
    compiled = mapped.lower(*arranged(examples)).compile()
    return lambda *args: compiled(*arranged(args))
