"""Dropout and stochastic depth whose masks belong to the example, so that they don't depend on how a batch is split
over devices."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp


def dropout(
    x: jax.Array,
    rate: float,
    key: jax.Array,
    *,
    index: jax.Array | None = None,
    broadcast_dims: Sequence[int] = (),
) -> jax.Array:
    """Zeroes each entry with probability `rate` and divides the others by `1 - rate` ("inverted" dropout).

        y = x * mask / (1 - rate),   mask ~ Bernoulli(1 - rate),   so that E[y] = x

    The expectation is kept in training, so that at test time the layer is the identity; the original form (Srivastava
    et al. 2014, section 4) leaves training unscaled and multiplies by `1 - rate` at test time instead.

    Args:
      x: (B, ...), any float type.
      rate: the probability of dropping an entry, in [0, 1).
      key: one PRNG key for the whole batch.
      index: (B,) int32, each example's position in the global batch; `arange(B)` if None. Example j's mask depends on
        `key` and `index[j]` only.
      broadcast_dims: axes, but not the first, along which all entries share one decision, as in Flax.

    Returns:
      (B, ...), of x's type.

    Raises:
      ValueError: if `rate` is outside [0, 1).

    >>> y = dropout(jnp.ones((4, 1000)), 0.5, jax.random.key(0))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must be in [0, 1), got {rate}")
    if rate == 0:
        return x
    if index is None:
        index = jnp.arange(x.shape[0], dtype=jnp.int32)

    shape = [1 if axis in broadcast_dims else size for axis, size in enumerate(x.shape)][1:]

    def mask(i: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, i), 1 - rate, shape)

    return jnp.where(jax.vmap(mask)(index), x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


class Dropout(nn.Module):
    """`dropout` as a layer: the identity unless `train`; draws its key from the "dropout" stream.

    >>> x = jnp.ones((2, 3))
    >>> Dropout(0.5).apply({}, x, train=False).tolist() == x.tolist()
    True
    """

    rate: float
    broadcast_dims: Sequence[int] = ()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, index: jax.Array | None = None) -> jax.Array:
        if not train or self.rate == 0:
            return x
        return dropout(x, self.rate, self.make_rng("dropout"), index=index, broadcast_dims=self.broadcast_dims)


class StochasticDepth(Dropout):
    """Drops the whole branch of a residual block, example by example: (B, H, W, C) -> the same.

    What is left of the block is its shortcut (Huang et al. 2016, "Deep networks with stochastic depth", section 3). The
    branches that stay are divided by `1 - rate`, so that nothing is done at test time. timm calls it DropPath.

    >>> y = StochasticDepth(0.5).apply({}, jnp.ones((8, 2, 2, 3)), train=True, rngs={"dropout": jax.random.key(0)})
    >>> sorted({tuple(set(example.ravel().tolist())) for example in y})
    [(0.0,), (2.0,)]
    """

    broadcast_dims: Sequence[int] = (1, 2, 3)
