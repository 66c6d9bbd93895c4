"""Augmentation policies: for each image a few operations at random, instead of a strength for each by hand."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.augment.chain import Augment, by_image
from fcnn.augment.operations import NUMBER, OPERATIONS, apply_operation

BINS = 31  # magnitudes of RandAugment and TrivialAugment, 0 the weakest
SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")
"""The operations that go in either direction, by a fair coin."""
INVERT = NUMBER["invert"]  # the last one, which AutoAugment alone uses


def rand_augment(num_ops: int = 2, magnitude: int = 9) -> Augment:
    """Applies `num_ops` operations, each drawn from fourteen, all at one magnitude of 0 to 30: float32.

    Cubuk, Zoph, Shlens & Le 2019, arXiv:1909.13719, section 3; operations and magnitudes are torchvision's.
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        table = _magnitudes(*_wide(image), bins=BINS)[:, magnitude]
        image = jnp.round(image.astype(jnp.float32))
        for one in jax.random.split(key, num_ops):
            number_key, sign_key = jax.random.split(one)
            number = jax.random.randint(number_key, (), 0, INVERT)
            image = apply_operation(image, number, _with_sign(sign_key, number, table[number]))
        return image

    return by_image(change)


def trivial_augment() -> Augment:
    """Applies one operation of fourteen at a magnitude that is drawn, too, from a wide range: float32.

    Müller & Hutter 2021, arXiv:2103.10158, section 3 ("TA (Wide)"); operations and magnitudes are torchvision's.
    """
    table = _magnitudes(0.99, 32.0, 32.0, 135.0, 0.99, least_bits=2, bins=BINS)

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        number_key, bin_key, sign_key = jax.random.split(key, 3)
        number = jax.random.randint(number_key, (), 0, INVERT)
        magnitude = table[number, jax.random.randint(bin_key, (), 0, BINS)]
        image = jnp.round(image.astype(jnp.float32))
        return apply_operation(image, number, _with_sign(sign_key, number, magnitude))

    return by_image(change)


def auto_augment() -> Augment:
    """Applies one of the 25 pairs of operations that a search found for ImageNet, each with its probability: float32.

    Cubuk, Zoph, Mane, Vasudevan & Le 2018, arXiv:1805.09501, table 9; magnitudes are torchvision's.
    """
    numbers = jnp.asarray([[NUMBER[name] for name, _, _ in pair] for pair in IMAGENET])
    rates = jnp.asarray([[rate for _, rate, _ in pair] for pair in IMAGENET])
    bins = jnp.asarray([[magnitude for _, _, magnitude in pair] for pair in IMAGENET])

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        table = _magnitudes(*_wide(image), bins=10)
        pair_key, *keys = jax.random.split(key, 3)
        pair = jax.random.randint(pair_key, (), 0, len(IMAGENET))
        image = jnp.round(image.astype(jnp.float32))
        for i, one in enumerate(keys):
            rate_key, sign_key = jax.random.split(one)
            number = jnp.where(jax.random.bernoulli(rate_key, rates[pair, i]), numbers[pair, i], NUMBER["identity"])
            image = apply_operation(image, number, _with_sign(sign_key, number, table[number, bins[pair, i]]))
        return image

    return by_image(change)


POLICIES = {"rand_augment": rand_augment, "trivial_augment": trivial_augment, "auto_augment": auto_augment}


def _wide(image: jax.Array) -> tuple[float, float, float, float, float]:
    """The strongest shear, translations, rotation and blend of RandAugment and AutoAugment for an image's size."""
    height, width, _ = image.shape
    return 0.3, 150 / 331 * width, 150 / 331 * height, 30.0, 0.9


def _magnitudes(
    shear: float, right: float, down: float, degrees: float, blend: float, *, bins: int, least_bits: int = 4
) -> jax.Array:
    """The magnitudes of every operation from weakest to strongest: (operations, bins)."""
    strongest: Mapping[str, float] = {
        **dict.fromkeys(("shear_x", "shear_y"), shear),
        **{"translate_x": right, "translate_y": down, "rotate": degrees},
        **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), blend),
    }
    rows = {name: np.linspace(0, strongest.get(name, 0), bins) for name in OPERATIONS}
    rows["posterize"] = 8 - np.round(np.arange(bins) / ((bins - 1) / (8 - least_bits)))
    rows["solarize"] = np.linspace(255, 0, bins)
    return jnp.asarray(np.stack([*rows.values()]), jnp.float32)


def _with_sign(key: jax.Array, number: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Negative in half of the cases, for the operations that go in either direction."""
    signed = jnp.isin(number, jnp.asarray([NUMBER[name] for name in SIGNED]))
    return jnp.where(signed & jax.random.bernoulli(key), -magnitude, magnitude)


# Operation, probability, magnitude of 0 to 9.
IMAGENET = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)
