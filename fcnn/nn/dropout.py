"""Dropout whose mask belongs to the example, so that it doesn't depend on how a batch is split over devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def dropout(x: jax.Array, rate: float, key: jax.Array, *, index: jax.Array | None = None) -> jax.Array:
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

    def mask(i: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, i), 1 - rate, x.shape[1:])

    return jnp.where(jax.vmap(mask)(index), x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


class Dropout(nn.Module):
    """`dropout` as a layer: the identity unless `train`; draws its key from the "dropout" stream.

    >>> x = jnp.ones((2, 3))
    >>> Dropout(0.5).apply({}, x, train=False).tolist() == x.tolist()
    True
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, index: jax.Array | None = None) -> jax.Array:
        if not train or self.rate == 0:
            return x
        return dropout(x, self.rate, self.make_rng("dropout"), index=index)
