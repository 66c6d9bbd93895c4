"""Whether a program may call oneDNN: decided when it is lowered, by what it is lowered for."""

import functools
import logging
from typing import Any

from jax.interpreters import mlir

from fcnn.nn.onednn import handler
from fcnn.nn.onednn.library import Unavailable, load

_log = logging.getLogger("fcnn")


def usable(module: Any) -> bool:
    """Whether the module that is being lowered for CPUs can have custom calls to oneDNN."""
    return _unavailable() is None and _for_one_device(module) and not module.lowering_parameters.for_export


@functools.cache
def _unavailable() -> str | None:
    """Why oneDNN can't be used, or None; says so, once, where one would expect that it can."""
    try:
        load()
        handler.register()
    except Unavailable as error:
        if error.surprising:
            _log.warning("fcnn: XLA computes convolutions on this CPU, and takes longer: %s", error)
        return str(error)
    return None


def cpu_convolutions() -> str:
    """What computes convolutions in programs for a CPU, for a run to record: "oneDNN 3.2.0" or "XLA (why)".

    >>> cpu_convolutions().split()[0] in ("oneDNN", "XLA")
    True
    """
    reason = _unavailable()
    return f"oneDNN {load().version}" if reason is None else f"XLA ({reason})"


def _for_one_device(module: Any) -> bool:
    """Whether each device sees a whole array: XLA can cut its own operations into parts, and not a custom call."""
    axes = module.axis_context
    if isinstance(axes, mlir.ShardingContext):
        return axes.num_devices == 1
    # In a shard_map, as pmap is one, each device has its part by then.
    return isinstance(axes, mlir.SPMDAxisContext) and set(axes.manual_axes) == set(axes.mesh.axis_names)
