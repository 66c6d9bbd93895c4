"""A data set from NumPy arrays: checked once, cut like every other set, and recognized when a run is resumed."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnn.data.dataset import AnySplit, Dataset, Split
from fcnn.data.splits import stratified_holdout
from fcnn.data.streamed import Streamed
from fcnn.utils.errors import UserError
from fcnn.utils.text import join

Pair = tuple[Any, Any]
"""Images and labels, as `from_arrays` takes them."""
_BLOCK = 1024
"""Images that are converted at once."""


def from_arrays(
    images: Any,
    labels: Any,
    *,
    classes: Sequence[str] | None = None,
    validation: Pair | None = None,
    test: Pair | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    name: str = "arrays",
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Dataset:
    """Returns the data set of images and labels that are already in memory, or memory-mapped.

    A split that isn't passed is held out of `images`, in proportion to the classes: first the test split, then the
    validation split of what is left, as `DataConfig` does it for other sets.

    Args:
      images: (N, H, W, C) or (N, H, W), C = 1 or 3: uint8, or floats in [0, 1], which are rounded to 8 bits. A
        memory-mapped uint8 array (`np.load(path, mmap_mode="r")`) is read batch by batch while the network trains.
      labels: (N,) or (N, 1) integers from 0 to the number of classes - 1.
      classes: the class names, in the order of the labels; None for "0", "1", ...
      validation: (images, labels) of the validation split.
      test: (images, labels) of the test split.
      val_fraction: share of the training images to hold out, 0 to 0.9; 0 for no validation split.
      test_fraction: share of `images` to hold out, 0.001 to 0.9.
      split_seed: of those splits.
      name: of the set, for messages and reports.
      mean, std: by channel, of pixels from 0 to 1; None to measure them on the training split.

    Returns:
      A data set that belongs to these pixels: a run that began with others refuses it.

    Raises:
      UserError: the arrays are no images with a label each, or don't fit each other.

    Example:
      (images, labels), test = keras.datasets.cifar10.load_data()
      fcnn.train(config, dataset=from_arrays(images, labels, test=test))
    """
    for key, share, low in (("val_fraction", val_fraction, 0), ("test_fraction", test_fraction, 0.001)):
        _check(low <= share <= 0.9, f"{key} must be from {low} to 0.9, got {share}")
    train = _read((images, labels), "")
    pairs = {"validation": validation, "test": test}
    splits = {split: _read(pair, f"{split} ") for split, pair in pairs.items() if pair is not None}
    classes = _check_classes(classes, train.labels)
    for split, part in splits.items():
        _check(part.shape == train.shape, f"images are {train.shape} and {split} images {part.shape} (H, W, C)")
    for split, part in {"": train, **splits}.items():
        top = part.labels.max(initial=0)
        _check(top < len(classes), f"{split} labels go up to {top}, with {len(classes)} classes".lstrip())
    for split, share in (("test", test_fraction), ("validation", val_fraction)):
        if split not in splits and share > 0:
            rest, held_out = stratified_holdout(train.labels, share, split_seed)
            splits[split], train = train.take(held_out), train.take(rest)
    splits.setdefault("validation", train.take(slice(0)))
    _check(len(train) > 0 and len(splits["test"]) > 0, "there are too few images for a training and a test split")
    missing = [classes[i] for i in np.flatnonzero(np.bincount(train.labels, minlength=len(classes)) == 0)]
    return Dataset(
        name,
        classes,
        train,
        splits["validation"],
        splits["test"],
        normalization=_normalization(mean, std, train.shape[-1]),
        pixels=_digest(train, splits["validation"], splits["test"]),
        notes=(f"classes without an image in the train split: {join(missing)}",) if missing else (),
    )


def _check(ok: Any, message: str) -> None:
    if not ok:
        raise UserError(message)


def _read(pair: Any, split: str) -> AnySplit:
    """Returns the checked images and labels; `split` names them in messages: "test " or ""."""
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    _check(is_pair, f"{split}must be a pair, (images, labels), got {type(pair).__name__}")
    images, labels = _check_images(pair[0], f"{split}images"), _check_labels(pair[1], f"{split}labels")
    _check(len(images) == len(labels), f"there are {len(images):,} {split}images and {len(labels):,} {split}labels")
    if isinstance(images, np.memmap):
        return Streamed(images, labels, np.arange(len(labels)))
    return Split(images, labels)


def _as_array(values: Any, what: str) -> np.ndarray:
    try:
        return values if isinstance(values, np.memmap) else np.asarray(values)
    except (ValueError, TypeError) as error:  # lists of unlike lengths, tensors on a GPU
        raise UserError(f"{what} must be an array: {str(error).splitlines()[0]}") from None


def _check_images(images: Any, what: str) -> np.ndarray:
    """Returns images as (N, H, W, C) uint8, C = 1 or 3; uint8 arrays are not copied."""
    images = _as_array(images, what)
    _check(images.ndim in (3, 4), f"{what} must be (N, H, W, C) or (N, H, W), got {images.shape}")
    images = images if images.ndim == 4 else images[..., None]
    hint = ": channels come last, images.transpose(0, 2, 3, 1)" if images.shape[1] in (1, 3) else ""
    _check(images.shape[-1] in (1, 3), f"{what} must have 1 or 3 channels, got {images.shape}{hint}")
    _check(images.size, f"{what} have no pixels, got {images.shape}")
    if images.dtype == np.uint8:
        return images
    _check(images.dtype.kind == "f", f"{what} must be uint8, or floats in [0, 1], got {images.dtype}")
    pixels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        low, high = block.min(), block.max()
        in_range = low >= 0 and high <= 1  # NaN is neither
        _check(in_range, f"{what} must be uint8, or floats in [0, 1], got floats from {low:g} to {high:g}")
        pixels[start : start + _BLOCK] = np.rint(255 * block)
    return pixels


def _check_labels(labels: Any, what: str) -> np.ndarray:
    """Returns labels as (N,) int32."""
    labels = _as_array(labels, what)
    hint = " (of one-hot rows: labels.argmax(axis=1))" if labels.ndim == 2 else ""
    _check(labels.ndim == 1 or labels.shape[1:] == (1,), f"{what} must be (N,), got {labels.shape}{hint}")
    _check(labels.dtype.kind in "iu", f"{what} must be integers, got {labels.dtype}")
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    _check(0 <= low <= high < 2**31, f"{what} must be from 0 to the number of classes - 1, got {low} to {high}")
    return labels.reshape(-1).astype(np.int32)


def _check_classes(classes: Sequence[str] | None, labels: np.ndarray) -> tuple[str, ...]:
    """Returns the class names; without any, the numbers of the labels, which then have no gap."""
    if classes is None:
        present = np.unique(labels)
        gap = np.setdiff1d(np.arange(len(present)), present)[:1]
        _check(not len(gap), f"no image has the label {gap}: number the classes from 0 without gaps, or pass classes")
        classes = [str(label) for label in present]
    is_list = not isinstance(classes, str) and all(isinstance(name, str) for name in classes)
    _check(is_list, f"classes must be a list of names, got {classes!r}")
    _check(len(set(classes)) == len(classes), "classes has a name twice")
    _check(len(classes) > 1, f"there must be at least two classes, got {len(classes)}")
    return tuple(classes)


def _normalization(mean: Any, std: Any, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    _check((mean is None) == (std is None), "mean and std go together: pass both or neither")
    if mean is None:
        return None
    for key, values, low in (("mean", mean, 0.0), ("std", std, 1e-6)):
        ok = np.size(values) in (1, channels) and all(low <= value <= 1 for value in np.ravel(values))
        _check(ok, f"{key} must be a number for each of {channels} channels, on a scale of 0 to 1, got {values}")
    return np.full(channels, np.ravel(mean), np.float32), np.full(channels, np.ravel(std), np.float32)


def _digest(*splits: AnySplit) -> str:
    """Returns a short name for all pixels of the splits, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        for start in range(0, len(split), _BLOCK):
            digest.update(np.ascontiguousarray(split.read(np.arange(start, min(start + _BLOCK, len(split))))))
    return digest.hexdigest()[:24]
