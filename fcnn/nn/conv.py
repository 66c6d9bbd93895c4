"""The convolution of every model, as a layer."""

from typing import Any

import flax.linen as nn
import jax

from fcnn.nn.fast_conv import conv_general_dilated, conv_geometry
from fcnn.nn.geometry import padding_pairs, per_axis
from fcnn.nn.onednn.convolution_plan import Geometry


class Conv(nn.Conv):
    """`nn.Conv` of Flax, without padding by default, with `conv_general_dilated` of this package: (B, H, W, C) ->
    (B, H', W', features).

    An int holds for both spatial axes, as `kernel_size` too, which Flax takes for a kernel of one axis.

    >>> layer = Conv(8, 3, strides=2, padding=1, use_bias=False)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jax.numpy.ones((1, 32, 32, 3)))
    >>> y.shape, jax.tree.map(jax.numpy.shape, variables)
    ((1, 16, 16, 8), {'params': {'kernel': (3, 3, 3, 8)}})
    """

    padding: Any = 0
    conv_general_dilated: Any = conv_general_dilated

    def __post_init__(self) -> None:
        if isinstance(self.kernel_size, int):
            self.kernel_size = (self.kernel_size, self.kernel_size)
        super().__post_init__()

    @nn.nowrap
    def geometry(self, x: jax.Array, kernel: jax.Array) -> Geometry | None:
        """Returns the convolution's geometry if it is of the kind that oneDNN is used for."""
        hooked = self.conv_general_dilated is conv_general_dilated
        other = str(self.padding) in ("CIRCULAR", "REFLECT", "CAUSAL")
        if not hooked or x.ndim != 4 or other or (self.mask, self.input_dilation) != (None, 1):
            return None
        strides, dilation = (per_axis("Conv", "strides", n or 1, 2) for n in (self.strides, self.kernel_dilation))
        return conv_geometry(
            x,
            kernel,
            strides,
            padding_pairs("Conv", self.padding, x.shape[1:3], kernel.shape[:2], strides, dilation),
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.feature_group_count,
        )
