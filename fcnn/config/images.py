"""The part of a run's config that is about images: the data set and its augmentation."""

import dataclasses
import os
import re
from typing import Literal

from fcnn.config import names
from fcnn.config.validate import INF, check, check_known, check_numbers, check_paths
from fcnn.utils.errors import unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data set, and how it is split."""

    name: str = "digits"
    """The data set: digits (scikit-learn's 1,797 scanned handwritten digits, 8x8), mnist, fashion_mnist, cifar10,
    cifar100, folder:PATH (a subfolder of images for each class) or tfds:NAME[/CONFIG][:VERSION] (TensorFlow
    Datasets)."""
    manual_dir: str | None = None
    """Folder with the official files of mnist, fashion_mnist, cifar10 or cifar100, archives or extracted; downloaded if
    not given."""
    image_size: int | None = None
    """Height and width in pixels: resize the shorter side to this, then crop the center; None for the original size
    (for folder: 128)."""
    val_fraction: float = 0.1
    """Fraction of the training split to hold out for validation (stratified), to choose the best epoch; 0 for none. No
    effect if the data set has a validation split."""
    num_train: int | None = None
    """Number of training images to use (stratified); None for all."""
    test_fraction: float = 0.2
    """Fraction of the images to hold out for testing (stratified), if the data set has no test split."""
    split_seed: int = 0
    """Seed of the splits. Separate from the run's seed, so that runs with different seeds use the same images."""
    splits: str | None = None
    """folder: the splits.csv of an earlier run. Images listed there, identified by content, stay in their split; new
    ones are split by test-fraction and val-fraction."""
    on_bad_image: Literal["error", "skip"] = "error"
    """folder: stop at files that can't be read and list them, or skip and count them."""
    corrections: str | None = None
    """folder: CSV of corrected labels, such as an edited audit.csv from `fcnn audit`. Its columns are path (relative to
    the folder) and label: the class, or nothing or "-" to leave the image out. Other columns are ignored; no image file
    is changed."""
    value_range: tuple[float, float] | None = None
    """folder: pixel values of black and white in gray images of more than 8 bits (16-bit PNG and TIFF, floats), such as
    0 4095 for a 12-bit camera; None for the range of the training files without 0.1 % of the pixels at each end."""
    pipeline: Literal["auto", "device", "stream"] = "auto"
    """device keeps all images on the device, as uint8; stream reads and decodes them batch by batch; auto streams a
    data set that is larger than a quarter of the memory. Results are the same, except that augment.resized-crop crops
    streamed images of folder: at full resolution."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weight of each training image in the loss: none is 1, balanced is images / (classes x images of its class). The
    loss is sum(w_i x loss_i) / sum(w_i), where w_i is the weight of image i's label; for a mixed label, the mean of its
    classes' weights by their shares. This is the loss of PyTorch's CrossEntropyLoss(weight=...), unless labels are
    smoothed or mixed."""
    mean: tuple[float, ...] | None = None
    """Pixel mean per channel, from 0 to 1, to subtract; None to measure it on the training split."""
    std: tuple[float, ...] | None = None
    """Standard deviation per channel, from 0 to 1, to divide by; None to measure it on the training split."""

    def __post_init__(self) -> None:
        check_paths(self, "data.", "name", "manual_dir", "splits", "corrections")
        _check_dataset_name(self.name)
        check_numbers(
            self, "data.", image_size=(1, 4096), num_train=(1, INF), val_fraction=(0, 0.9), test_fraction=(0.001, 0.9),
            split_seed=(0, 2**32 - 1),
        )  # fmt: skip
        low, high = self.value_range or (0, 1)
        check(
            -INF < low < high < INF,
            f"data.value-range must be two numbers, the lower one first, got {self.value_range}",
        )
        check(
            self.value_range is None or self.name.startswith("folder:"),
            f"data.value-range has no effect with {self.name}; it belongs to folder:",
        )
        for option in ("corrections", "splits"):
            check(
                getattr(self, option) is None or self.name.startswith("folder:"),
                f"data.{option} has no effect with {self.name}; it belongs to folder:",
            )
        check((self.mean is None) == (self.std is None), "data.mean and data.std go together: give both or neither")
        for name, values, low in (("mean", self.mean or (), 0.0), ("std", self.std or (), 1e-6)):
            check(all(low <= v <= 1 for v in values), f"data.{name} is on a scale of 0 to 1, got {values}")
        check(len(self.mean or ()) == len(self.std or ()), "data.mean and data.std need a number for each channel")
        check(
            self.manual_dir is None or self.name in names.DATASETS[1:],
            f"data.manual-dir has no effect with {self.name}; it belongs to {', '.join(names.DATASETS[1:])}",
        )


def _check_dataset_name(name: str) -> None:
    kind, _, rest = name.partition(":")
    if kind == "folder":
        check(rest != "", "data.name folder:PATH needs the path of a folder of images")
    elif kind == "tfds":
        ok = re.fullmatch(names.TFDS_NAME, rest) is not None
        check(ok, f"data.name {name!r} must look like tfds:NAME, tfds:NAME/CONFIG or tfds:NAME:1.0.0")
    else:
        check(name in names.DATASETS or not os.path.exists(name), f"data.name {name!r} is a path: write folder:{name}")
        if name not in names.DATASETS:
            raise ValueError(unknown("data.name", name, (*names.DATASETS, "folder:PATH", "tfds:NAME")))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random augmentation of training images, on the device, different for each image and step."""

    resized_crop: float = 1.0
    """Crop a random box of at least this fraction of the area and resize it to the image's size (0.08 in GoogLeNet); 1
    for none."""
    zoom: float = 1.0
    """Zoom in or out by up to this factor; 1 for none."""
    rotation: float = 0.0
    """Rotate by up to this angle in degrees, in either direction."""
    crop_padding: int = 0
    """Pad each side with this many pixels of zeros, then crop at random to the image's size; 0 for none."""
    flip: bool = False
    """Flip horizontally with probability 1/2."""
    flip_vertical: bool = False
    """Flip vertically with probability 1/2."""
    auto_augment: Literal["none", "rand_augment", "trivial_augment", "auto_augment"] = "none"
    """Policy that draws operations (shear, translation, rotation, brightness, color, contrast, sharpness, posterize,
    solarize, equalize ...) for each image: rand_augment, num-ops of them at one magnitude; trivial_augment, one at any
    magnitude; auto_augment, one of the 25 pairs found for ImageNet."""
    num_ops: int = 2
    """rand_augment: operations per image."""
    magnitude: int = 9
    """rand_augment: strength of the operations, 0 to 30."""
    brightness: float = 0.0
    """Multiply pixels by a factor from 1 - this to 1 + this."""
    contrast: float = 0.0
    """Multiply the difference from the image's mean gray by a factor from 1 - this to 1 + this."""
    saturation: float = 0.0
    """Multiply the difference from each pixel's gray by a factor from 1 - this to 1 + this; color images only."""
    hue: float = 0.0
    """Shift the hue by up to this fraction of the color wheel, in either direction; color images only."""
    noise: float = 0.0
    """Standard deviation of added Gaussian noise, as a fraction of the range from black to white."""
    random_erasing: float = 0.0
    """Probability with which a box of 2 to 33 % of the image is replaced by random values."""
    cutout: int = 0
    """Side in pixels of a black square at a random position; 0 for none."""
    mixup: float = 0.0
    """mixup: alpha of the Beta(alpha, alpha) distribution of the mixing weight; 0 for none."""
    cutmix: float = 0.0
    """CutMix: alpha of the Beta(alpha, alpha) distribution of the mixing weight; 0 for none. With both, each image gets
    mixup or CutMix."""
    mixup_off_epochs: float = 0.0
    """Number of epochs at the end of the run without mixup and CutMix."""

    def __post_init__(self) -> None:
        check_numbers(
            self, "augment.", resized_crop=(0.01, 1), zoom=(1, 16), rotation=(0, 180), crop_padding=(0, 1024),
            brightness=(0, INF), contrast=(0, INF), saturation=(0, INF), hue=(0, 0.5), noise=(0, 1), cutout=(0, 1024),
            mixup=(0, INF), cutmix=(0, INF), num_ops=(1, 16), magnitude=(0, 30), random_erasing=(0, 1),
            mixup_off_epochs=(0, INF),
        )  # fmt: skip
        check_known("augment.auto-augment", self.auto_augment, names.POLICIES)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for option, needs, enabled in (
            ("num_ops", "augment.auto-augment rand_augment", self.auto_augment == "rand_augment"),
            ("magnitude", "augment.auto-augment rand_augment", self.auto_augment == "rand_augment"),
            ("mixup_off_epochs", "augment.mixup or augment.cutmix", bool(self.mixup or self.cutmix)),
        ):
            check(
                enabled or getattr(self, option) == defaults[option],
                f"augment.{option.replace('_', '-')} has no effect without {needs}",
            )
