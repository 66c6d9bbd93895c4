"""The batch norm of every model: Flax's layer, with the ReLU behind it as one operation where that is faster."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.nn.fast_conv import is_plain
from fcnn.nn.onednn.norm import normalize


class FusedBatchNorm(nn.BatchNorm):
    """`nn.BatchNorm`, and a ReLU behind it with `relu`; the same parameters and statistics: (B, ..., C) -> the same.

    Training on float32 images (B, H, W, C), with scale and bias, has one gradient for both, written out. On one CPU
    oneDNN computes it, and the normalization, if the number of channels suits it, as multiples of 16 do
    (`fcnn.nn.onednn`). Everything else is Flax's.

    >>> layer = FusedBatchNorm(use_running_average=False, relu=True)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((8, 2, 2, 4)))
    >>> jax.tree.map(jnp.shape, variables)
    {'batch_stats': {'mean': (4,), 'var': (4,)}, 'params': {'bias': (4,), 'scale': (4,)}}
    """

    relu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        if self.use_running_average or self.is_initializing() or not self._is_plain(x):
            y = super().__call__(x)
            return jax.nn.relu(y) if self.relu else y
        shape = x.shape[-1:]
        running = [self.variable("batch_stats", name) for name in ("mean", "var")]
        scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        y, *found = normalize(x, scale, bias, epsilon=self.epsilon, relu=self.relu)
        for kept, new in zip(running, found, strict=True):
            kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        return y

    def _is_plain(self, x: jax.Array) -> bool:
        """Whether nothing is asked for but batch norm over the last axis of a device's own float32 images."""
        usual = self.use_scale and self.use_bias and self.axis == -1 and self.param_dtype == jnp.float32
        return usual and self.axis_name is None and self.dtype in (None, jnp.float32) and is_plain(x)
