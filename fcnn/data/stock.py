"""`tfds:NAME`: any image set with labels that TensorFlow Datasets has or has been taught, read without TensorFlow."""

import contextlib
import importlib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.config import names
from fcnn.data.cache import cached, data_dir
from fcnn.data.decode import BadImage, open_image, quiet, square
from fcnn.data.manifest import SPLITS
from fcnn.data.parallel import Progress, each
from fcnn.utils.errors import UserError, unknown

BLOCK = 256  # records that are read at once


def open_tfds(spec: str) -> Any:
    """The builder of `NAME[/CONFIG][:VERSION]`: prepared in the data folder, TFDS's own, or in a module of one's own.

    Raises:
      UserError: there is none.
    """
    import tensorflow_datasets as tfds

    found = re.fullmatch(names.TFDS_NAME, spec)
    assert found is not None, spec  # DataConfig has checked it
    module, _, name = found["name"].rpartition(".")
    if module:
        _import(module)
    full = (
        name + (f"/{found['config']}" if found["config"] else "") + (f":{found['version']}" if found["version"] else "")
    )
    try:
        return tfds.builder(full, data_dir=data_dir())
    except tfds.core.DatasetNotFoundError:
        known = {*tfds.list_builders(with_community_datasets=False), *(path.name for path in data_dir().glob("*/"))}
        hint = unknown("TFDS set", name, known) if not module else f"{module} defines no TFDS builder {name!r}"
        own = "; one of your own is tfds:MODULE.NAME, or prepared there" if not module else ""
        raise UserError(f"{hint[:300]} (data folder {data_dir()}{own})") from None
    except (ValueError, AssertionError, RuntimeError) as error:  # a config or a version that the set doesn't have
        raise UserError(f"tfds:{spec}: {_first_line(error)}") from None


def _import(module: str) -> None:
    """Imports a module, from the current folder too, as `python -m` would."""
    sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"data.name tfds:{module}....: {error}") from None
    finally:
        sys.path.remove(os.getcwd())


def make_setup(builder: Any, name: str, log: Callable[[str], None]) -> None:
    """Writes a set as array_record in the data folder, if it isn't there yet.

    Raises:
      UserError: it needs TensorFlow, or another package, or files that TFDS can't get.
    """
    import tensorflow_datasets as tfds

    if builder.data_path.exists():
        return
    log(f"Preparing {name} in {builder.data_path} (once) ...")
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints there, which is for our own reports
            builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # a builder is anybody's program
        if (reason := _not_ours(error)) is None:
            raise
        raise UserError(f"{name} can't be prepared: {reason}") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _not_ours(error: BaseException) -> str | None:
    """Why TFDS couldn't prepare a set, if that is something a user can put right."""
    chain = list(_chain(error))
    if importlib.util.find_spec("tensorflow") is None and any("tensorflow" in str(e).lower() for e in chain):
        return "TFDS needs TensorFlow to prepare it (not to read it): pip install 'fcnn[tensorflow]'"
    for cause in chain:
        if isinstance(cause, ImportError):
            return f"{_first_line(cause)} (a package that TFDS needs for this set)"
        if isinstance(cause, OSError) or (isinstance(cause, AssertionError) and "manual" in str(cause).lower()):
            return _first_line(cause)
    return None


def read_tfds(
    builder: Any, name: str, *, image_size: int | None, progress: Progress, splits: Sequence[str] = SPLITS
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The class names and the decoded splits "train", "validation" and "test", as many as there are.

    Args:
      builder: prepared.
      name: of the set, for messages.
      image_size: as in the config.
      track: shows progress.
      splits: which of them to read, where they are there.

    Returns:
      (classes, {split: (N,) with fields "image" (H, W, C) uint8 and "label" int32}).

    Raises:
      UserError: no image or no label in it, images of several sizes without `image_size`, or not in array_record.
    """
    classes, shape = form(builder, name, image_size=image_size)
    found = {
        split: _read_split(builder, name, split, shape, image_size, progress)
        for split in splits
        if split in builder.info.splits
    }
    return classes, {split: read for split, read in found.items() if not len(read) or read["label"].min() >= 0}


def varied_sizes(builder: Any, name: str) -> bool:
    """Returns whether the images of a set differ in size, so that `read_tfds` needs an `image_size`."""
    image_key, _ = _features(builder, name)
    return None in builder.info.features[image_key].shape[:2]


def form(builder: Any, name: str, *, image_size: int | None) -> tuple[tuple[str, ...], tuple[int, int, int]]:
    """The class names and an image's (H, W, C) as it will be read; the builder need not be prepared.

    Raises:
      UserError: no image or no label in it, or images of several sizes without `image_size`.
    """
    image_key, label_key = _features(builder, name)
    height, width, channels = builder.info.features[image_key].shape
    if image_size is not None:
        height = width = image_size
    if height is None or width is None:
        raise UserError(f"the images of {name} vary in size: give --data.image-size, to which they are resized")
    # Transparency is laid on white.
    return tuple(builder.info.features[label_key].names), (height, width, 1 if channels == 1 else 3)


def _features(builder: Any, name: str) -> tuple[str, str]:
    """Which features are the image and its label."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features)
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    if builder.info.supervised_keys is not None and len(builder.info.supervised_keys) == 2:
        image, label = builder.info.supervised_keys
        images, labels = [k for k in images if k == image] or images, [k for k in labels if k == label] or labels
    if len(images) != 1 or len(labels) != 1:
        raise UserError(f"{name} is not a set of images with a class each; its features are {', '.join(features)}")
    feature = features[images[0]]
    if feature.np_dtype != np.uint8 or feature.shape[-1] not in (1, 3, 4, None):
        raise UserError(f"the images of {name} are {feature.shape} {np.dtype(feature.np_dtype)}, not 8-bit gray or RGB")
    return images[0], labels[0]


def _read_split(
    builder: Any, name: str, split: str, shape: tuple[int, int, int], image_size: int | None, progress: Progress
) -> np.ndarray:
    """A whole split, decoded, in the order in which TFDS wrote it: (N,) with "image" and "label"."""
    import tensorflow_datasets as tfds

    image_key, label_key = keys = _features(builder, name)

    def fill(out: np.ndarray) -> None:
        decoders = {image_key: tfds.decode.SkipDecoding()}  # so that pixels are ours, whatever TFDS finds to decode by
        try:
            source = builder.as_data_source(split=split, decoders=decoders)
        except (NotImplementedError, ValueError) as error:
            raise UserError(
                f"{name} was prepared in {builder.data_path} in a format that needs TensorFlow to be read; "
                f"remove that folder to have it prepared again as array_record ({_first_line(error)})"
            ) from None

        def block(start: int) -> None:
            # array_record reads a block at a time: six times as fast as one by one.
            places = range(start, min(start + BLOCK, len(out)))
            for i, example in zip(places, source.__getitems__(list(places)), strict=True):
                try:
                    image = open_image(io.BytesIO(example[image_key]), at_least=image_size)
                    out["image"][i] = _fit(image, shape, image_size)
                except BadImage as error:
                    raise UserError(f"{name}, {split} image {i}: {error}") from None
                out["label"][i] = example[label_key]

        with quiet():
            each(block, range(0, len(out), BLOCK), f"decoding {name} {split}", progress)

    files = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(Path(builder.data_path).iterdir())]
    count = builder.info.splits[split].num_examples
    identity = [str(builder.data_path), files, split, keys, image_size]
    return cached(f"{builder.data_path}-{split}-{image_size}", identity, count, shape, fill)


def _fit(image: Any, shape: tuple[int, int, int], image_size: int | None) -> np.ndarray:
    """The image in the set's shape."""
    if image_size is not None:
        return square(image, image_size, shape[2])
    pixels = np.asarray(image.convert("RGB" if shape[2] == 3 else "L"))
    if pixels.shape[:2] != shape[:2]:
        raise BadImage(f"{pixels.shape[1]} x {pixels.shape[0]} pixels, where the set says {shape[1]} x {shape[0]}")
    return pixels.reshape(shape)
