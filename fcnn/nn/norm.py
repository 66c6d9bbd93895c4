"""The normalizations that Flax doesn't have, or not as fast.

Flax's `GroupNorm`, `LayerNorm` and `InstanceNorm` are used as they are, with `use_fast_variance=False`: E[x²] - E[x]²
loses all digits of float32 at mean 1000 and deviation 0.01.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.nn.fast_conv import is_plain
from fcnn.nn.onednn.norm import normalize


class BatchNorm(nn.BatchNorm):
    """Normalizes each channel over the batch and all positions, as Flax's layer: (B, ..., C) -> the same.

    Training on float32 images (B, H, W, C), with scale and bias, has one gradient for the norm and a ReLU behind it,
    written out. On one CPU oneDNN computes it, and the normalization, if the number of channels suits it, as multiples
    of 16 do (`fcnn.nn.onednn`). Everything else is Flax's.

    >>> layer = BatchNorm(use_running_average=False)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((8, 2, 2, 4)))
    >>> jax.tree.map(jnp.shape, variables)
    {'batch_stats': {'mean': (4,), 'var': (4,)}, 'params': {'bias': (4,), 'scale': (4,)}}
    """

    @nn.compact
    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, *, mask: Any = None, relu: bool = False
    ) -> Any:
        """Normalizes x, then takes the ReLU if asked for; the rest as in Flax."""
        running = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        if running or self.is_initializing() or mask is not None or not self._is_plain(x):
            y = super().__call__(x, use_running_average, mask=mask)
            return jax.nn.relu(y) if relu else y
        shape = x.shape[-1:]
        averages = [self.variable("batch_stats", name) for name in ("mean", "var")]
        scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        y, *statistics = normalize(x, scale, bias, epsilon=self.epsilon, relu=relu)
        for average, new in zip(averages, statistics, strict=True):
            average.value = self.momentum * average.value + (1 - self.momentum) * new
        return y

    def fold(self, bias: jax.Array) -> tuple[jax.Array, jax.Array] | None:
        """Returns (a, b) with which this layer gives x * a + b for x + bias; None if it normalizes by the batch.

        Args:
          bias: (C,), of the layer before it.
        """
        if not (self.use_running_average and self.use_scale and self.use_bias and self.axis == -1):
            return None
        params, averages = self.variables["params"], self.variables["batch_stats"]
        factor = params["scale"] * jax.lax.rsqrt(averages["var"] + self.epsilon)
        return factor, (bias - averages["mean"]) * factor + params["bias"]

    def _is_plain(self, x: jax.Array) -> bool:
        """Whether nothing is asked for but batch norm over the last axis of a device's own float32 images."""
        usual = self.use_scale and self.use_bias and self.axis == -1 and self.param_dtype == jnp.float32
        return usual and self.axis_name is None and self.dtype in (None, jnp.float32) and is_plain(x)


def local_response_norm(x: jax.Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> jax.Array:
    """Divides each entry by a power of the mean square of `size` neighboring channels at its position.

        y[..., c] = x[..., c] / (k + alpha / size * sum_j x[..., j]²)^beta,   c - size // 2 <= j <= c + (size - 1) // 2

    with channels outside x counted as zeros. This is PyTorch's convention; the paper's has no `/ size`, so that
    AlexNet's own n = 5, alpha = 1e-4, beta = 0.75, k = 2 are `size=5, alpha=5e-4, beta=0.75, k=2.0` here.

    Args:
      x: (..., C) of a floating type.
      size, alpha, beta, k: as in the formula.

    Returns:
      Of x's shape and type.

    Raises:
      ValueError: if x isn't floating with at least 2 axes, or `size` is below 1.

    Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 3.3; PyTorch's `LocalResponseNorm`.

    >>> print(local_response_norm(jnp.ones((1, 3)), 3, alpha=3.0, beta=1.0))
    [[0.33333334 0.25       0.33333334]]
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim < 2:
        raise ValueError(f"local_response_norm: x must be floating (..., C), got {x.dtype} {x.shape}")
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size} for x {x.shape}")
    x, dtype = (x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x), x.dtype
    squares = jnp.pad(x * x, ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),))
    total = sum(jax.lax.slice_in_dim(squares, j, j + x.shape[-1], axis=-1) for j in range(size))
    return (x * (k + alpha / size * total) ** -beta).astype(dtype)
