"""The dense layer of every model."""

from typing import Any

import flax.linen as nn
import jax
from jax import lax

from fcnn.nn.fast_conv import conv_general_dilated, conv_geometry
from fcnn.nn.onednn.convolution_plan import Geometry

_AT_EACH_POSITION = (((3,), (0,)), ((), ()))
_IMAGES = ("NHWC", "HWIO", "NHWC")


def dot_general(x: jax.Array, kernel: jax.Array, dimension_numbers: Any, *args: Any, **options: Any) -> jax.Array:
    """`lax.dot_general`, for Linen's hook `nn.Dense(dot_general=...)`; same arguments and results.

    Of float32 images (B, H, W, C) it is a 1x1 convolution, which on a CPU oneDNN computes on every core.
    """
    dense = _geometry(x, kernel) is not None and dimension_numbers == _AT_EACH_POSITION
    if not dense or args or options.keys() - {"precision", "preferred_element_type"}:
        return lax.dot_general(x, kernel, dimension_numbers, *args, **options)
    return conv_general_dilated(x, kernel[None, None], (1, 1), "VALID", dimension_numbers=_IMAGES, **options)


class Dense(nn.Dense):
    """`nn.Dense` of Flax with `dot_general` of this package: (..., C) -> (..., features).

    >>> layer = Dense(8)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jax.numpy.ones((1, 2, 2, 3)))
    >>> y.shape, jax.tree.map(jax.numpy.shape, variables)
    ((1, 2, 2, 8), {'params': {'bias': (8,), 'kernel': (3, 8)}})
    """

    dot_general: Any = dot_general

    @nn.nowrap
    def geometry(self, x: jax.Array, kernel: jax.Array) -> Geometry | None:
        """Returns the geometry of the convolution that it is, of images; None if it is none."""
        return _geometry(x, kernel) if self.dot_general is dot_general else None


def _geometry(x: jax.Array, kernel: jax.Array) -> Geometry | None:
    if x.ndim != 4 or kernel.ndim != 2:
        return None
    return conv_geometry(x, kernel[None, None], (1, 1), "VALID", dimension_numbers=_IMAGES)
