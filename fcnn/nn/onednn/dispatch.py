"""Whether a program may call oneDNN, decided when it is lowered by what it is lowered for; and by which algorithm."""

import contextlib
import functools
import logging
from typing import Any

from jax import lax
from jax.interpreters import mlir

from fcnn.nn.onednn import handler, winograd
from fcnn.nn.onednn.convolution_plan import Geometry, Name, convolution_plan
from fcnn.nn.onednn.library import Failed, Unavailable, load
from fcnn.nn.onednn.plan import ExecutionPlan, PostOps
from fcnn.nn.onednn.winograd_plan import winograd_plan

_log = logging.getLogger("fcnn")


def usable(module: Any) -> bool:
    """Whether the module that is being lowered for CPUs can have custom calls to oneDNN."""
    return available() and _for_one_device(module) and not module.lowering_parameters.for_export


def available() -> bool:
    """Whether oneDNN is here."""
    return _unavailable() is None


@functools.cache
def _unavailable() -> str | None:
    """Why oneDNN can't be used, or None; logs it, once, where one would expect that it can."""
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


def best_plan(want: Name, geometry: Geometry, post_ops: PostOps | None, precision: Any) -> tuple[str, ExecutionPlan]:
    """oneDNN's fastest plan of a convolution, and the handler's name of the function that makes it.

    Raises:
      Failed: oneDNN has no implementation for this shape.
    """
    # Who sets a precision wants what is written, not what is about that.
    precisions = precision if isinstance(precision, tuple) else (precision,)
    default = all(one in (None, "default", lax.Precision.DEFAULT) for one in precisions)
    if default and better_by_winograd(geometry):
        with contextlib.suppress(Failed):
            return "winograd", winograd_plan(want, geometry, post_ops)
    return "convolution", convolution_plan(want, geometry, post_ops)


def better_by_winograd(geometry: Geometry) -> bool:
    """Whether Winograd's algorithm computes it, and in less time: with many channels, from 128 on as a rule."""
    return winograd.suits(geometry) and winograd.cost(geometry) < 0.85


def better_as_product(geometry: Geometry) -> bool:
    """Whether matrix products are faster than the convolution of oneDNN or XLA: for images of up to 2x2 pixels."""
    # 3x3 kernels, batch 128, one core, CPU time of forward and both gradients: with 512 channels the products take 0.30
    # of oneDNN's convolution, with 256 0.34, with 64 0.7; XLA's takes 8 to 14 times as long. For images of 3x3 pixels
    # they take 0.9, for 4x4 1.2.
    return max(geometry.x[1:3]) <= 2 and geometry.groups == 1
