"""What takes a box or all of an image away, and puts another one there: no single detail should decide.

Mixing turns labels into rows of probabilities. An image's partner is drawn from the batch that the function sees, under
jit the whole global batch: with the examples in the order of their indices, the one a number of places further on,
cyclically. That number, of 1 to B - 1, is drawn for the step; batches are shuffled, so that any such pairing is as good
as another, and it doesn't depend on how the batch is laid out over devices. How much is mixed, and where, is drawn for
each image. A masked example is nobody's partner: who would have got it stays as it is.
"""

import jax
import jax.numpy as jnp

from fcnn.augment.chain import Augment, by_image, image_keys
from fcnn.batch import Batch


def cutout(size: int) -> Augment:
    """Blackens a square of `size` x `size` pixels whose centre is uniform in the image: part of it may lie outside.

    DeVries & Taylor 2017, section 3.2 (size 16 for CIFAR-10). There the square is 0 after normalization, the mean of
    the data; here it is 0 before, as what other augmentations bring in from outside.
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        box = _box(key, image.shape, jnp.int32(size), jnp.int32(size))
        return jnp.where(box[..., None], jnp.zeros_like(image), image)

    return by_image(change)


def mixup(alpha: float, num_classes: int) -> Augment:
    """lam x + (1 - lam) x', and the labels' rows likewise, with lam ~ Beta(alpha, alpha) for each image: float32.

    Zhang et al. 2017, section 2 (alpha 0.2 for ImageNet, 1 for CIFAR-10).

    Args:
      alpha: above 0; the smaller, the closer lam to 0 or 1.
      num_classes: the length of the labels' rows.
    """

    def apply(key: jax.Array, batch: Batch) -> Batch:
        pair_key, key = jax.random.split(key)
        partner, paired = _partners(pair_key, batch)
        lam = jax.vmap(lambda k: jax.random.beta(k, alpha, alpha))(image_keys(key, batch))
        lam = jnp.where(paired, lam, 1.0)
        image = batch["image"].astype(jnp.float32)
        return {
            **batch,
            "image": _mean(image, image[partner], lam.reshape(-1, 1, 1, 1)),
            "label": _mixed_labels(batch, partner, lam, num_classes),
        }

    return apply


def cutmix(alpha: float, num_classes: int) -> Augment:
    """Puts a box of the partner in its place, and mixes the labels' rows by the areas; pixels keep their type.

    With lam ~ Beta(alpha, alpha) for each image, the box has sqrt(1 - lam) of the image's height and width, in whole
    pixels, and a centre uniform in the image; its part outside is lost, and the label's weight is the share of the
    pixels that the image has kept. Yun et al. 2019, section 3.1 (alpha 1).

    Args:
      alpha: above 0.
      num_classes: the length of the labels' rows.
    """

    def apply(key: jax.Array, batch: Batch) -> Batch:
        pair_key, key = jax.random.split(key)
        partner, paired = _partners(pair_key, batch)
        height, width = batch["image"].shape[1:3]

        def draw(key: jax.Array) -> jax.Array:
            lam_key, place_key = jax.random.split(key)
            side = jnp.sqrt(1 - jax.random.beta(lam_key, alpha, alpha))
            size = ((side * height).astype(jnp.int32), (side * width).astype(jnp.int32))
            return _box(place_key, batch["image"].shape[1:], *size)

        box = jax.vmap(draw)(image_keys(key, batch)) & paired.reshape(-1, 1, 1)
        lam = 1 - box.mean(axis=(1, 2), dtype=jnp.float32)
        return {
            **batch,
            "image": jnp.where(box[..., None], batch["image"][partner], batch["image"]),
            "label": _mixed_labels(batch, partner, lam, num_classes),
        }

    return apply


def _box(key: jax.Array, shape: tuple[int, ...], height: jax.Array, width: jax.Array) -> jax.Array:
    """True in a box of `height` x `width` pixels whose centre is uniform in an image (H, W, C): (H, W) bool."""
    full_height, full_width, _ = shape
    y, x = jax.random.randint(key, (2,), 0, jnp.asarray([full_height, full_width]))
    down, right = jnp.arange(full_height) - (y - height // 2), jnp.arange(full_width) - (x - width // 2)
    return ((down >= 0) & (down < height))[:, None] & ((right >= 0) & (right < width))[None]


def _partners(key: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Each example's partner: its position in the batch, (B,) int32, and whether it may be mixed with, (B,) bool."""
    order = jnp.argsort(batch["index"])
    rank = jnp.argsort(order)
    size = rank.shape[0]
    further = jax.random.randint(key, (), 1, max(size, 2))
    partner = order[(rank + further) % size]
    return partner, batch["mask"][partner]


def _mixed_labels(batch: Batch, partner: jax.Array, lam: jax.Array, num_classes: int) -> jax.Array:
    """lam y + (1 - lam) y' as rows, (B, classes) float32."""
    label = batch["label"]
    rows = label if label.ndim == 2 else jax.nn.one_hot(label, num_classes, dtype=jnp.float32)
    return _mean(rows, rows[partner], lam[:, None])


def _mean(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    """share a + (1 - share) b, exactly a where the share is 1."""
    return jnp.where(share == 1, a, b + share * (a - b))
