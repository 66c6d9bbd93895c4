"""Weight standardization: kernels of mean 0 and variance 1, which group norm needs to train as well as batch norm."""

from typing import Any

import jax
import jax.numpy as jnp

from fcnn.nn.fast_conv import conv_general_dilated


def standardize_kernel(kernel: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """Gives each output channel of a kernel (KH, KW, C, O) mean 0 and variance 1 over its KH x KW x C weights.

    Qiao, Wang, Liu, Shen & Yuille 2019, "Micro-batch training with batch-channel normalization and weight
    standardization", arXiv:1903.10520, section 3.

    >>> w = standardize_kernel(jnp.arange(8.0).reshape(2, 2, 1, 2), epsilon=0.0)
    >>> w.mean((0, 1, 2)).tolist(), w.var((0, 1, 2)).round(3).tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    centered = kernel - kernel.mean((0, 1, 2), keepdims=True)
    return centered * jax.lax.rsqrt(jnp.square(centered).mean((0, 1, 2), keepdims=True) + epsilon)


def standardized_conv_general_dilated(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """Computes `conv_general_dilated` with a standardized kernel: `Conv(..., conv_general_dilated=this)`.

    >>> from fcnn.nn import Conv
    >>> layer = Conv(1, 2, use_bias=False, conv_general_dilated=standardized_conv_general_dilated)
    >>> y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((1, 2, 2, 3)))
    >>> bool(abs(y).max() < 1e-5)  # the weights' sum is 0
    True
    """
    precise = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    return conv_general_dilated(x, standardize_kernel(precise).astype(kernel.dtype), *args, **options)
