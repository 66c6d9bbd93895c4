"""Augmentation on the device: pure functions `(key, batch) -> batch` that make more images of those there are.

What happens to an image depends on the key (one a step) and its index in the global batch, so the same images come out
however the batch is split over devices.

Pixels are on a scale of 0 to 255 from one end of the chain to the other. They come as uint8; what only moves them
(`crop`, `flip`, `cutout`) keeps their type, what computes with them makes them float32 and doesn't round.
`normalize` takes either.
"""

from fcnn.augment.chain import Augment, by_image, compose
from fcnn.augment.color import color_jitter, noise
from fcnn.augment.geometric import crop, flip, resized_crop, rotate, zoom
from fcnn.augment.mixing import cutout, mix, random_erasing
from fcnn.augment.normalization import normalize
from fcnn.augment.policies import POLICIES, auto_augment, rand_augment, trivial_augment
from fcnn.config import AugmentConfig

__all__ = [
    "Augment", "auto_augment", "by_image", "color_jitter", "compose", "crop", "cutout", "flip", "from_config", "mix",
    "noise", "normalize", "rand_augment", "random_erasing", "resized_crop", "rotate", "trivial_augment", "zoom",
]  # fmt: skip


def from_config(
    config: AugmentConfig, num_classes: int, *, mix_steps: int | None = None, axis_name: str | None = None
) -> Augment:
    """Returns the augmentations that a config sets, in the one order there is; with the defaults, none.

    Where an object is comes first, then what light and camera do with it, then other images, last what hides a part.
    Noise comes after mixing, which would average it away; random erasing before it, as in torchvision and timm. With
    mixup or CutMix labels are (B, num_classes) float; the steps from `mix_steps` on don't mix, if it isn't None.
    `axis_name` is that of the devices, where each runs a program of its own: mixing looks at the others' images.
    """
    jitter = {name: getattr(config, name) for name in ("brightness", "contrast", "saturation", "hue")}
    # What only moves pixels comes before what computes them, and rotation before the resizes: XLA on a CPU computes an
    # interpolation again for each of its uses, unless it is a matrix product's.
    table = [
        (config.crop_padding, lambda: crop(config.crop_padding)),
        (config.flip, flip),
        (config.flip_vertical, lambda: flip(vertical=True)),
        (config.rotation, lambda: rotate(config.rotation)),
        (config.zoom > 1, lambda: zoom(config.zoom)),
        (config.resized_crop < 1, lambda: resized_crop(config.resized_crop)),
        (config.auto_augment != "none", lambda: _policy(config)),
        (any(jitter.values()), lambda: color_jitter(**jitter)),
        (config.random_erasing, lambda: random_erasing(config.random_erasing)),
        (
            config.mixup or config.cutmix,
            lambda: mix(num_classes, config.mixup, config.cutmix, steps=mix_steps, axis_name=axis_name),
        ),
        (config.noise, lambda: noise(config.noise)),
        (config.cutout, lambda: cutout(config.cutout)),
    ]
    return compose(*(make() for enabled, make in table if enabled))


def _policy(config: AugmentConfig) -> Augment:
    if config.auto_augment == "rand_augment":
        return rand_augment(config.num_ops, config.magnitude)
    return POLICIES[config.auto_augment]()
