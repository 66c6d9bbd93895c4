"""The normalizations as Linen layers: they hold scale, bias and the running statistics that the functions are given.

Parameters are `scale` and `bias`, statistics `mean` and `var` in the collection "batch_stats": the names of Flax's own
layers, so that checkpoints are interchangeable. The arithmetic is that of `fcnn.nn.norm`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from fcnn.nn.norm import batch_norm, group_norm, instance_norm, layer_norm


class _Norm(nn.Module):
    """What the layers have in common: scale and bias, which start as 1 and 0."""

    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = jax.nn.initializers.ones
    bias_init: Initializer = jax.nn.initializers.zeros
    param_dtype: Any = jnp.float32

    def scale_and_bias(self, shape: tuple[int, ...]) -> tuple[jax.Array | None, jax.Array | None]:
        scale = self.param("scale", self.scale_init, shape, self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, shape, self.param_dtype) if self.use_bias else None
        return scale, bias


class BatchNorm(_Norm):
    """`batch_norm` as a layer; with `train` the collection "batch_stats" must be mutable.

    Attributes:
      momentum: the share of the old running statistics that stays; PyTorch's `momentum` is 1 minus this one.
      axis_name: the pmap or shard_map axis whose devices normalize one batch together. Leave it None under jit.
      scale_init: zeros for the last norm of a residual block lets the block start as the identity.

    >>> layer = BatchNorm()
    >>> variables = layer.init(jax.random.key(0), jnp.ones((8, 4)), train=False)
    >>> jax.tree.map(jnp.shape, variables)
    {'batch_stats': {'mean': (4,), 'var': (4,)}, 'params': {'bias': (4,), 'scale': (4,)}}
    >>> y, updates = layer.apply(variables, jnp.ones((8, 4)), train=True, mutable=["batch_stats"])
    >>> print(y[0], updates["batch_stats"]["mean"], updates["batch_stats"]["var"])
    [0. 0. 0. 0.] [0.1 0.1 0.1 0.1] [0.9 0.9 0.9 0.9]
    """

    momentum: float = 0.9
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, self.param_dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, self.param_dtype)
        scale, bias = self.scale_and_bias(shape)
        initializing = self.is_initializing()  # then there are no devices yet, and nothing to count
        y, statistics = batch_norm(
            x,
            scale,
            bias,
            mean.value,
            var.value,
            train=train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=None if initializing else self.axis_name,
        )
        if train and not initializing:
            mean.value, var.value = statistics
        return y


class LayerNorm(_Norm):
    """`layer_norm` as a layer.

    Attributes:
      axes: how many of the last axes to average over.

    >>> layer = LayerNorm()
    >>> jax.tree.map(jnp.shape, layer.init(jax.random.key(0), jnp.ones((2, 8, 8, 4))))
    {'params': {'bias': (4,), 'scale': (4,)}}
    """

    axes: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale, bias = self.scale_and_bias(x.shape[x.ndim - self.axes :])
        return layer_norm(x, scale, bias, axes=self.axes, epsilon=self.epsilon)


class InstanceNorm(_Norm):
    """`instance_norm` as a layer.

    >>> layer = InstanceNorm()
    >>> jax.tree.map(jnp.shape, layer.init(jax.random.key(0), jnp.ones((2, 8, 8, 4))))
    {'params': {'bias': (4,), 'scale': (4,)}}
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale, bias = self.scale_and_bias(x.shape[-1:])
        return instance_norm(x, scale, bias, epsilon=self.epsilon)


class GroupNorm(_Norm):
    """`group_norm` as a layer.

    Attributes:
      groups: into how many groups the channels are cut.

    >>> layer = GroupNorm(groups=2)
    >>> jax.tree.map(jnp.shape, layer.init(jax.random.key(0), jnp.ones((2, 8, 8, 4))))
    {'params': {'bias': (4,), 'scale': (4,)}}
    """

    groups: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale, bias = self.scale_and_bias(x.shape[-1:])
        return group_norm(x, scale, bias, groups=self.groups, epsilon=self.epsilon)


class Affine(nn.Module):
    """y = x * scale + bias, one of each a channel: what `fold_batch_norm` makes of a norm that it can't fold.

    >>> layer = Affine()
    >>> jax.tree.map(jnp.shape, layer.init(jax.random.key(0), jnp.ones((2, 8, 8, 4))))
    {'params': {'bias': (4,), 'scale': (4,)}}
    """

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (1,) * (x.ndim - 1) + x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], self.param_dtype)
        return x * scale.reshape(shape).astype(x.dtype) + bias.reshape(shape).astype(x.dtype)
