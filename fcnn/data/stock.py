"""`tfds:NAME`: any labeled image set that TFDS has, or a builder of one's own, read without TensorFlow."""

import contextlib
import importlib
import importlib.util
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.config import names
from fcnn.data.cache import cached_arrays, data_dir
from fcnn.data.decode import BadImage, ignore_warnings, open_image, resize_crop
from fcnn.data.manifest import SPLITS
from fcnn.data.parallel import Progress, each
from fcnn.utils.errors import UserError, install, unknown
from fcnn.utils.files import is_abandoned, owned, sync_folder, sync_tree

BLOCK = 256  # records that are read at once


def open_tfds(spec: str) -> Any:
    """Returns the builder of `NAME[/CONFIG][:VERSION]`: prepared in the data folder, or TFDS's, or a module's.

    Raises:
      UserError: there is none.
    """
    import tensorflow_datasets as tfds

    parts = re.fullmatch(names.TFDS_NAME, spec)
    assert parts is not None, spec  # DataConfig has checked it
    module, _, name = parts["name"].rpartition(".")
    if module:
        _import(module)
    try:
        return tfds.builder(name + spec[len(parts["name"]) :], data_dir=data_dir())
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


def prepare_files(builder: Any, name: str, log: Callable[[str], None]) -> None:
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
        _remove_incomplete(Path(builder.data_path).parent)
        # TFDS prints on standard output, which is for our own reports.
        with contextlib.redirect_stdout(io.StringIO()), _owned(builder):
            builder.download_and_prepare(file_format="array_record")
        sync_tree(Path(builder.data_path))
        sync_folder(Path(builder.data_path).parent)
    except Exception as error:  # a builder is anybody's program
        if (reason := _user_fault(error, Path(builder.data_path))) is None:
            raise
        raise UserError(f"{name} can't be prepared: {reason}") from error


@contextlib.contextmanager
def _owned(builder: Any) -> Iterator[None]:
    """While it lasts, marks the folder that TFDS prepares a set in, which it makes for itself, as this process's."""
    prepare = builder._download_and_prepare

    def prepare_owned(*args: Any, **options: Any) -> Any:
        with owned(Path(builder.data_dir)):
            return prepare(*args, **options)

    builder._download_and_prepare = prepare_owned
    try:
        yield
    finally:
        del builder._download_and_prepare


def _remove_incomplete(folder: Path) -> None:
    """Removes what preparations of a set that were killed have left: another process, or machine, may be at it, too."""
    for left in folder.glob("incomplete.*"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            if is_abandoned(left):
                shutil.rmtree(left)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _user_fault(error: BaseException | None, folder: Path) -> str | None:
    """Returns why TFDS couldn't prepare a set in a folder, if that is something a user can put right."""
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for cause in chain:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{cause.filename or folder}: {cause.strerror}; TFDS_DATA_DIR names the folder to prepare in"
        if isinstance(cause, RuntimeError) and ".array_record" in str(cause):  # of its writer, in C++
            return f"{_first_line(cause)}; TFDS_DATA_DIR names the folder to prepare in"
    if importlib.util.find_spec("tensorflow") is None and any("tensorflow" in str(e).lower() for e in chain):
        return f"TFDS needs TensorFlow to prepare it (not to read it): {install('tensorflow')}"
    for cause in chain:
        if isinstance(cause, ImportError):
            return f"{_first_line(cause)} (a package that TFDS needs for this set)"
        if isinstance(cause, OSError) or (isinstance(cause, AssertionError) and "manual" in str(cause).lower()):
            return _first_line(cause)
    return None


def read_tfds(
    builder: Any, name: str, *, image_size: int | None, progress: Progress, splits: Sequence[str] = SPLITS
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Returns the class names and the decoded splits "train", "validation" and "test", as many as there are.

    Returns:
      (classes, {split: (N,) with fields "image" (H, W, C) uint8 and "label" int32}).

    Raises:
      UserError: no image or no label in it, images of several sizes without `image_size`, or not in array_record.
    """
    classes, shape = form(builder, name, image_size=image_size)
    present = [split for split in splits if split in builder.info.splits]
    arrays = {split: _read_split(builder, name, split, shape, image_size, progress) for split in present}
    return classes, {split: array for split, array in arrays.items() if array["label"].min(initial=0) >= 0}


def varied_sizes(builder: Any, name: str) -> bool:
    """Returns whether the images of a set differ in size, so that `read_tfds` needs an `image_size`."""
    image_key, _ = _features(builder, name)
    return None in builder.info.features[image_key].shape[:2]


def form(builder: Any, name: str, *, image_size: int | None) -> tuple[tuple[str, ...], tuple[int, int, int]]:
    """Returns the class names and an image's (H, W, C) as it will be read; the builder need not be prepared.

    Raises:
      UserError: no image or no label in it, or images of several sizes without `image_size`.
    """
    image_key, label_key = _features(builder, name)
    height, width, channels = builder.info.features[image_key].shape
    if image_size is not None:
        height = width = image_size
    if height is None or width is None:
        raise UserError(f"the images of {name} vary in size: give --data.image-size, to which they are resized")
    # Transparent pixels become white.
    return tuple(builder.info.features[label_key].names), (height, width, 1 if channels == 1 else 3)


def _features(builder: Any, name: str) -> tuple[str, str]:
    """Returns the keys of the image and its label."""
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
    """Returns a whole split, decoded, in the order in which TFDS wrote it: (N,) with "image" and "label"."""
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

        with ignore_warnings():
            each(block, range(0, len(out), BLOCK), f"decoding {name} {split}", progress)

    files = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(Path(builder.data_path).iterdir())]
    count = builder.info.splits[split].num_examples
    identity = [str(builder.data_path), files, split, keys, image_size]
    return cached_arrays(f"{builder.data_path}-{split}-{image_size}", identity, count, shape, fill)


def _fit(image: Any, shape: tuple[int, int, int], image_size: int | None) -> np.ndarray:
    """Returns the image in the set's shape."""
    if image_size is not None:
        return resize_crop(image, shape)
    pixels = np.asarray(image.convert("RGB" if shape[2] == 3 else "L"))
    if pixels.shape[:2] != shape[:2]:
        raise BadImage(f"{pixels.shape[1]} x {pixels.shape[0]} pixels, where the set says {shape[1]} x {shape[0]}")
    return pixels.reshape(shape)
