"""Cutout, random erasing, mixup and CutMix: a box or all of an image is replaced, so that no single detail decides.

Mixing turns labels into rows of probabilities; training accuracy counts a mixture as the class that has most of it.

An image's partner is drawn from the whole global batch: with the examples in the order of their indices, the one a
number of places further on, cyclically. That number, of 1 to B - 1, is drawn for the step; batches are shuffled, so
that any such pairing is as good as another, and it doesn't depend on how the batch is split over devices: one that has
only its share gets the others' images sent. How much is mixed, and where, is drawn for each image. A masked example is
nobody's partner: an image whose partner is masked stays as it is.
"""

import math

import jax
import jax.numpy as jnp

from fcnn.augment.chain import Augment, by_image, image_keys
from fcnn.utils.batch import Batch


def cutout(size: int) -> Augment:
    """Blackens a square of `size` x `size` pixels whose center is uniform in the image: part of it may lie outside.

    DeVries & Taylor 2017, section 3.2 (size 16 for CIFAR-10). There the square is 0 after normalization, the mean of
    the data; here it is 0 before, as what other augmentations bring in from outside.
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, _ = image.shape
        box = _box(key, height, width, jnp.int32(size), jnp.int32(size))
        return jnp.where(box[..., None], jnp.zeros_like(image), image)

    return by_image(change)


def random_erasing(probability: float) -> Augment:
    """Replaces a box of an image by random values, with a probability; the type stays.

    The box has a share of the area uniform in [0.02, 0.33] and a ratio of height to width log-uniform in [0.3, 3.3], in
    whole pixels and at a uniform place: the first that fits of ten draws, as torchvision's RandomErasing. Each value in
    it is uniform in 0 to 255: Zhong et al. 2017, arXiv:1708.04896, section 3.2 ("RE-R").
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        full_height, full_width, _ = image.shape
        coin_key, area_key, ratio_key, place_key, value_key = jax.random.split(key, 5)
        area = full_height * full_width * jax.random.uniform(area_key, (10,), minval=0.02, maxval=0.33)
        ratio = jnp.exp(jax.random.uniform(ratio_key, (10,), minval=math.log(0.3), maxval=math.log(3.3)))
        heights, widths = (jnp.round(jnp.sqrt(x)).astype(jnp.int32) for x in (area * ratio, area / ratio))
        fits = (heights < full_height) & (widths < full_width)
        first = fits.argmax()
        height, width = heights[first], widths[first]
        room = jnp.stack([full_height - height, full_width - width])
        y, x = jax.random.randint(place_key, (2,), 0, jnp.maximum(room, 0) + 1)
        box = _inside(full_height, full_width, y, x, height, width)
        erased = box & fits[first] & jax.random.bernoulli(coin_key, probability)
        values = jax.random.bits(value_key, image.shape, jnp.uint8).astype(image.dtype)
        return jnp.where(erased[..., None], values, image)

    return by_image(change)


def mix(
    num_classes: int,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    *,
    steps: int | None = None,
    axis_name: str | None = None,
) -> Augment:
    """Mixes each image, and the row of its label, with another one of its batch: both float32.

    mixup (Zhang et al. 2017, section 2; alpha 0.2 for ImageNet, 1 for CIFAR-10): lam x + (1 - lam) x', with
    lam ~ Beta(alpha, alpha). CutMix (Yun et al. 2019, section 3.1; alpha 1): a box of x' in x, of sqrt(1 - lam) of the
    image's height and width in whole pixels and with its center uniform in the image, without what lies outside. In
    either the label's weight is the share of x that is left: lam itself, or the share of pixels outside the box.

    Args:
      num_classes: the length of the labels' rows.
      mixup: its alpha; 0 for none. The smaller, the closer lam to 0 or 1.
      cutmix: its alpha; 0 for none. With both, each image gets one of them, by a fair coin.
      steps: how many of the run's first steps mix; later ones leave images and labels as they are. It is compared with
        `batch["step"]`, which the training step sets; None for all.
      axis_name: of the devices among which the batch is shared out; None if it's whole.
    """

    def blended(key: jax.Array, height: int, width: int) -> jax.Array:
        return jnp.full((height, width), jax.random.beta(key, mixup, mixup))

    def boxed(key: jax.Array, height: int, width: int) -> jax.Array:
        lam_key, place_key = jax.random.split(key)
        side = jnp.sqrt(1 - jax.random.beta(lam_key, cutmix, cutmix))
        box = _box(place_key, height, width, (side * height).astype(jnp.int32), (side * width).astype(jnp.int32))
        return 1 - box.astype(jnp.float32)

    def share(key: jax.Array, height: int, width: int) -> jax.Array:
        """The weight of an image in each pixel of its mixture, (H, W)."""
        if not (mixup and cutmix):
            return (blended if mixup else boxed)(key, height, width)
        coin_key, key = jax.random.split(key)
        return jnp.where(jax.random.bernoulli(coin_key), blended(key, height, width), boxed(key, height, width))

    def apply(key: jax.Array, batch: Batch) -> Batch:
        pair_key, key = jax.random.split(key)
        image, label = batch["image"], batch["label"]
        rows: Batch = {"image": image, "label": label, "mask": batch["mask"], "index": batch["index"]}
        whole = rows if axis_name is None else jax.lax.all_gather(rows, axis_name, tiled=True)
        partner, paired = _partners(pair_key, batch["index"], whole)
        _, height, width, _ = batch["image"].shape
        shares = jax.vmap(lambda key: share(key, height, width))(image_keys(key, batch))
        paired = paired if steps is None else paired & (batch.get("step", 0) < steps)
        shares = jnp.where(paired[:, None, None], shares, 1.0)
        other_image, other_label = whole["image"][partner], whole["label"][partner]
        image, other_image = image.astype(jnp.float32), other_image.astype(jnp.float32)
        if label.ndim == 1:
            label, other_label = (jax.nn.one_hot(one, num_classes, dtype=jnp.float32) for one in (label, other_label))
        return {
            **batch,
            "image": _between(image, other_image, shares[..., None]),
            "label": _between(label, other_label, shares.mean(axis=(1, 2))[:, None]),
        }

    return apply


def _box(key: jax.Array, full_height: int, full_width: int, height: jax.Array, width: jax.Array) -> jax.Array:
    """Returns True in a box of `height` x `width` pixels whose center is uniform in the image: (H, W) bool."""
    y, x = jax.random.randint(key, (2,), 0, jnp.asarray([full_height, full_width]))
    return _inside(full_height, full_width, y - height // 2, x - width // 2, height, width)


def _inside(
    full_height: int, full_width: int, top: jax.Array, left: jax.Array, height: jax.Array, width: jax.Array
) -> jax.Array:
    """Returns True in a box: (H, W) bool."""
    down, right = jnp.arange(full_height) - top, jnp.arange(full_width) - left
    return ((down >= 0) & (down < height))[:, None] & ((right >= 0) & (right < width))[None]


def _partners(key: jax.Array, index: jax.Array, whole: Batch) -> tuple[jax.Array, jax.Array]:
    """Returns the partners of the examples `index`, (B,): their places in the whole batch, and whether they are images,
    not padding, (B,) bool."""
    order = jnp.argsort(whole["index"])
    rank = jnp.searchsorted(whole["index"][order], index)
    size = order.shape[0]
    further = jax.random.randint(key, (), 1, max(size, 2))
    partner = order[(rank + further) % size]
    return partner, whole["mask"][partner]


def _between(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    """Returns share a + (1 - share) b: exactly a where the share is 1, exactly b where it is 0."""
    return jnp.where(share == 1, a, b + share * (a - b))
