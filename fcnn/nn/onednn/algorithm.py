"""By which algorithm a convolution is computed on a CPU: as it is written, by matrix products, or by Winograd's."""

import contextlib
from typing import Any

from jax import lax

from fcnn.nn.onednn import winograd
from fcnn.nn.onednn.convolution_plan import Geometry, Name, convolution_plan
from fcnn.nn.onednn.ending import Ending
from fcnn.nn.onednn.library import Failed
from fcnn.nn.onednn.plan import Plan
from fcnn.nn.onednn.winograd_plan import winograd_plan


def best_plan(want: Name, geometry: Geometry, ending: Ending | None, precision: Any) -> tuple[str, Plan]:
    """oneDNN's fastest, and what the handler calls the function that makes it.

    Raises:
      Failed: oneDNN has no implementation for this shape.
    """
    if _default(precision) and better_by_winograd(geometry):
        with contextlib.suppress(Failed):
            return "winograd", winograd_plan(want, geometry, ending)
    return "convolution", convolution_plan(want, geometry, ending)


def better_by_winograd(geometry: Geometry) -> bool:
    """Whether Winograd's algorithm computes it, and in less time: with many channels, from 128 on as a rule."""
    return winograd.suits(geometry) and winograd.cost(geometry) < 0.85


def better_as_product(geometry: Geometry) -> bool:
    """Whether matrix products are faster than the convolution of oneDNN or XLA: for images of up to 2x2 pixels."""
    # 3x3 kernels, batch 128, one core, CPU time of forward and both gradients: with 512 channels the products take 0.30
    # of oneDNN's convolution, with 256 0.34, with 64 0.7; XLA's takes 8 to 14 times as long. For images of 3x3 pixels
    # they take 0.9, for 4x4 1.2.
    return max(geometry.x[1:3]) <= 2 and geometry.groups == 1


def _default(precision: Any) -> bool:
    """Whether it's JAX's default: who sets a precision asks for what is written, not for what is about that."""
    asked = precision if isinstance(precision, tuple) else (precision,)
    return all(one in (None, "default", lax.Precision.DEFAULT) for one in asked)
