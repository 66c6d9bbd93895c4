"""Loss and accuracy as sums over examples, so that they add up over batches, devices and padding."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax

LogitsLoss = Callable[[jax.Array, jax.Array], jax.Array]
"""`(logits (B, classes), labels (B,) int or (B, classes) float) -> (B,)`."""


class Metrics(flax.struct.PyTreeNode):
    """Sums over the examples that count; each a float32 scalar. Add two with `jax.tree.map(jnp.add, a, b)`."""

    count: jax.Array
    loss: jax.Array
    top1: jax.Array
    top5: jax.Array


class ClassMetrics(Metrics):
    """The same, and for each class what precision and recall are made of; each (classes,) float32."""

    class_count: jax.Array
    """Examples whose label is the class."""
    class_top1: jax.Array
    """Top-1 hits among them."""
    class_predicted: jax.Array
    """Examples that are predicted to be of the class."""


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
    """-sum_k y_k log softmax(logits)_k for each example: (B, classes), labels as for `label_rows` -> (B,).

    NaN for a label that is no class; its gradient is 0.
    """
    losses = optax.softmax_cross_entropy(logits, label_rows(labels, logits.shape[-1], smoothing))
    return jnp.where(_is_class(labels, logits.shape[-1]), losses, jnp.nan)


def binary_cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Each class decided for itself, the mean over the classes: (B, classes), labels as for `label_rows` -> (B,).

    -(1 / classes) sum_k y_k log sigmoid(logits_k) + (1 - y_k) log(1 - sigmoid(logits_k)): Wightman et al. 2021, "ResNet
    strikes back", arXiv:2110.00476, section 3.1. NaN for a label that is no class, as above.
    """
    losses = optax.sigmoid_binary_cross_entropy(logits, label_rows(labels, logits.shape[-1], smoothing)).mean(axis=1)
    return jnp.where(_is_class(labels, logits.shape[-1]), losses, jnp.nan)


def _is_class(labels: jax.Array, num_classes: int) -> jax.Array | bool:
    """Whether each label is the number of a class, (B,); rows of mixed labels are taken as they are."""
    return True if labels.ndim == 2 else (labels >= 0) & (labels < num_classes)


LOSSES = {"cross_entropy": cross_entropy, "binary_cross_entropy": binary_cross_entropy}


def compute_metrics(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Metrics:
    """The metrics of a batch: cross-entropy without smoothing, top-1 and top-5 hits.

    An example is a top-k hit where its label is among the k highest scores, of equal ones the first classes, as for
    `argmax`: a network that gives every class the same score is right where the label is 0. Rows of mixed labels count
    by their largest entry.

    Args:
      logits: (B, classes).
      labels: (B,) int or (B, classes) float.
      mask: (B,) bool; False doesn't count.
    """
    rank = _rank(logits, labels)

    def total(values: jax.Array) -> jax.Array:
        return jnp.where(mask, values.astype(jnp.float32), 0.0).sum()

    return Metrics(
        count=total(mask),
        loss=total(cross_entropy(logits, labels)),
        top1=total(rank < 1),
        top5=total(rank < 5),
    )


def compute_class_metrics(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> ClassMetrics:
    """`compute_metrics`, and each class by itself; the same arguments."""

    def rows(classes: jax.Array) -> jax.Array:
        return jnp.where(mask[:, None], jax.nn.one_hot(classes, logits.shape[1], dtype=jnp.float32), 0.0)

    members, hits = rows(_classes(labels)), (_rank(logits, labels) < 1)[:, None]
    sums = compute_metrics(logits, labels, mask)
    return ClassMetrics(
        **vars(sums),
        class_count=members.sum(axis=0),
        class_top1=jnp.where(hits, members, 0.0).sum(axis=0),
        class_predicted=rows(logits.argmax(axis=1)).sum(axis=0),
    )


def _classes(labels: jax.Array) -> jax.Array:
    """The class that an example counts for, (B,) int."""
    return labels if labels.ndim == 1 else labels.argmax(axis=1)


def _rank(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes come before the label, in descending order of scores and then as numbered, (B,) int."""
    classes = _classes(labels)[:, None]
    score = jnp.take_along_axis(logits, classes, axis=1)
    earlier = jnp.arange(logits.shape[1])[None] < classes
    rank = ((logits > score) | (logits == score) & earlier).sum(axis=1)
    # A score that isn't finite is above nothing and below nothing: it must not count as a hit, nor may no class.
    known = jnp.isfinite(logits).all(axis=1) & _is_class(classes[:, 0], logits.shape[1])
    return jnp.where(known, rank, jnp.iinfo(rank.dtype).max)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Returns the 95 % confidence interval of a share that was measured as `hits` of `count`, at least 1.

    Unlike hits / count +- 1.96 standard errors it stays within 0 and 1 and doesn't shrink to nothing at either end. It
    says how much the number of images leaves open, not how much another seed would change.

    E. B. Wilson: Probable Inference, the Law of Succession, and Statistical Inference, JASA 22, 1927.
    """
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(hits, count).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)
