"""The convolution of every model, as a layer."""

from typing import Any

import flax.linen as nn

from fcnn.nn.fast_conv import conv_general_dilated


class Conv(nn.Conv):
    """`nn.Conv` of Flax, without padding by default, with `conv_general_dilated` of this package: (B, H, W, C) ->
    (B, H', W', features).

    An int holds for both spatial axes, as `kernel_size` too, which Flax takes for a kernel of one axis.

    >>> import jax
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
