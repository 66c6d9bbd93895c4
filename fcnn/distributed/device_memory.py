"""How much memory a device has; what can't be in it is refused before it is asked for."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import psutil
from jax.sharding import Mesh

from fcnn.utils.errors import UserError


def host_memory() -> int:
    """Returns the bytes of the host's memory, or of the container's if less."""
    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    return total


def device_memory() -> int:
    """Returns the bytes of a device's memory, or of the host's, through which images go, if less."""
    host = host_memory()
    return min(host, (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", host))


def check_file(path: Path) -> None:
    """UserError if a file is larger than the memory that it would be read into."""
    if (size := path.stat().st_size) > (memory := host_memory()):
        raise UserError(f"{path} has {size / 1e9:,.1f} GB, and the memory has {memory / 1e9:,.1f} GB")


def num_elements(tree: Any) -> int:
    """Returns the numbers in a pytree's arrays, which may be abstract."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def num_bytes(tree: Any) -> int:
    """Returns the bytes of a pytree's arrays, which may be abstract."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def check_fits(size: int, mesh: Mesh, what: str, remedy: str) -> None:
    """UserError unless `size` bytes on every device are at most its memory; CPU devices have one memory together."""
    shared = mesh.local_mesh.size if mesh.devices.flat[0].platform == "cpu" else 1
    if size * shared > (memory := device_memory()):
        raise UserError(f"{what} {size * shared / 1e9:,.1f} GB, and the memory has {memory / 1e9:,.1f} GB: {remedy}")
