"""Loss and accuracy as sums over examples, so that they add up over batches, devices and padding."""

import flax.struct
import jax
import jax.numpy as jnp
import optax


class Metrics(flax.struct.PyTreeNode):
    """Sums over the examples that count; each a float32 scalar. Add two with `jax.tree.map(jnp.add, a, b)`."""

    count: jax.Array
    loss: jax.Array
    top1: jax.Array
    top5: jax.Array


def no_metrics() -> Metrics:
    """The sums over no examples."""
    zero = jnp.zeros((), jnp.float32)
    return Metrics(count=zero, loss=zero, top1=zero, top5=zero)


def label_rows(labels: jax.Array, num_classes: int, smoothing: float = 0.0) -> jax.Array:
    """Labels as rows of probabilities.

    Args:
      labels: (B,) int, or (B, classes) float rows already.
      smoothing: share s of the probability spread over all classes: (1 - s) y + s / classes (Szegedy et al. 2015,
        section 7).

    Returns:
      (B, classes) float32.
    """
    rows = labels if labels.ndim == 2 else jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    return optax.smooth_labels(rows, smoothing) if smoothing else rows


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """-sum_k y_k log softmax(logits)_k for each example: (B, classes), labels as for `label_rows` -> (B,)."""
    return optax.softmax_cross_entropy(logits, label_rows(labels, logits.shape[-1], smoothing))


def measure(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Metrics:
    """The metrics of a batch: cross-entropy without smoothing, top-1 and top-5 hits.

    An example is a top-k hit where fewer than k classes score higher than its label; a tie counts for it, so that the
    answer doesn't depend on the order of the classes. Rows of mixed labels count by their largest entry.

    Args:
      logits: (B, classes).
      labels: (B,) int or (B, classes) float.
      mask: (B,) bool; False doesn't count.
    """
    classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
    score = jnp.take_along_axis(logits, classes[:, None], axis=1)
    rank = (logits > score).sum(axis=1)
    # A non-finite score is above nothing and below nothing: it must not count as a hit.
    rank = jnp.where(jnp.isfinite(logits).all(axis=1), rank, logits.shape[1])

    def total(values: jax.Array) -> jax.Array:
        return jnp.where(mask, values.astype(jnp.float32), 0.0).sum()

    return Metrics(
        count=total(mask),
        loss=total(cross_entropy(logits, labels)),
        top1=total(rank < 1),
        top5=total(rank < 5),
    )
