"""From a name to a loaded `Dataset`: the table of what there is, and the cutting into train, validation and test."""

import dataclasses
import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.config import DataConfig
from fcnn.data.cache import data_dir
from fcnn.data.cut import cut_splits, shortages, why_empty
from fcnn.data.dataset import AnySplit, Dataset, Split, balanced_weights
from fcnn.data.manifest import UNUSED, Manifest, Row
from fcnn.data.parallel import Progress, no_progress
from fcnn.data.streamed import Streamed, streams
from fcnn.utils.errors import UserError

Say = Callable[[str], None]


def _digits(config: DataConfig, log: Say) -> Any:
    from fcnn.data.digits import Digits

    return Digits(data_dir=data_dir(), file_format="array_record")


def _official(config: DataConfig, log: Say) -> Any:
    from fcnn.data import builders, obtain

    options = {"data_dir": data_dir(), "file_format": "array_record"}
    builder = builders.TABLE[config.name](**options)
    if builder.data_path.exists():
        return builder
    manual_dir = None if config.manual_dir is None else Path(config.manual_dir)
    splits = obtain.obtain(builder.OFFICIAL, manual_dir, log)
    return builders.TABLE[config.name](**options, splits=splits)


BUILDERS: dict[str, Callable[[DataConfig, Say], Any]] = {
    "digits": _digits,
    "mnist": _official,
    "fashion_mnist": _official,
    "cifar10": _official,
    "cifar100": _official,
}


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files that a run on a folder has, as its folder keeps them."""

    manifest: Manifest
    channels: int
    """Of the run's images."""
    exact: bool
    """Whether all of them must be there, unchanged, and no others."""


def load(
    config: DataConfig, *, run: RunFiles | None = None, log: Say = lambda _: None, progress: Progress = no_progress
) -> Dataset:
    """Loads a data set, preparing it first if this is the first use.

    Args:
      config: which one, and how it is split.
      run: of a folder, the files and splits that a run has; None to cut the splits.
      say: is told what takes long and what a person should know, a line at a time.
      track: shows progress.

    Raises:
      UserError: it isn't there, or isn't what it should be.
    """
    kind, _, rest = config.name.partition(":")
    if kind == "folder":
        from fcnn.data.folder import load_folder, load_listed

        root = Path(rest).expanduser()
        if run is not None:
            listed = load_listed(root, config, run.manifest, run.channels, exact=run.exact, log=log, progress=progress)
            return _dataset(config, **listed)
        parts = load_folder(root, config, progress)
    else:
        parts = _load_tfds(config, log, progress)
    return _cut(config, log, **parts)


def outline(config: DataConfig, size: int) -> Dataset:
    """The classes and the shape of a set with `size` blank images in each split: for a program that is compiled and
    not run. Nothing is prepared or downloaded, but a folder must be there.
    """
    kind, _, rest = config.name.partition(":")
    if kind == "folder":
        whole = load(config)
        classes, shape = whole.classes, whole.train.shape
    else:
        _check_array_record(config.name)
        from fcnn.data import builders, digits, stock

        own = {"digits": digits.Digits, **builders.TABLE}
        builder = stock.open_tfds(rest) if rest else own[config.name](data_dir=data_dir(), file_format="array_record")
        classes, shape = stock.form(builder, config.name, image_size=config.image_size)
    blank = Streamed(np.zeros((1, *shape), np.uint8), np.zeros(size, np.int32), np.zeros(size, int))
    gray = np.full(shape[-1], 0.5, np.float32)
    return Dataset(
        config.name,
        classes,
        *(blank, blank, blank),
        normalization=_given_normalization(config, shape[-1]) or (gray, gray),
        class_weights=np.ones(len(classes), np.float32) if config.class_weights == "balanced" else None,
    )


def _check_array_record(name: str) -> None:
    """UserError where a set can't be read for want of the package that reads its files."""
    if importlib.util.find_spec("array_record") is None:
        raise UserError(
            f"{name} needs the package array-record, which isn't installed and has no version for Windows: use WSL "
            "there, or a folder of images, folder:PATH"
        )


def open_prepared(config: DataConfig, log: Say) -> Any:
    """Opens the builder of a set that TFDS reads, prepared first if this is the first use."""
    _check_array_record(config.name)
    # TFDS logs on every use that OpenCV would decode faster than Pillow, which is what we chose.
    logging.getLogger("absl").setLevel(logging.ERROR)
    from fcnn.data import stock  # imported here because it is slow, and half of the commands need no data

    _, _, spec = config.name.partition(":")
    builder = stock.open_tfds(spec) if spec else BUILDERS[config.name](config, log)
    stock.make_setup(builder, config.name, log)
    return builder


def _load_tfds(config: DataConfig, log: Say, progress: Progress) -> dict[str, Any]:
    """Classes and splits of a set that TFDS reads."""
    builder = open_prepared(config, log)
    from fcnn.data import stock

    classes, splits = stock.read_tfds(builder, config.name, image_size=config.image_size, progress=progress)
    if streams(config.pipeline, sum(found["image"].nbytes for found in splits.values())):
        kept = {k: Streamed(v["image"], np.ascontiguousarray(v["label"]), np.arange(len(v))) for k, v in splits.items()}
    else:
        kept = {k: Split(v["image"], v["label"]) for k, v in splits.items()}
    return {"classes": classes, "splits": kept}


def _cut(
    config: DataConfig,
    log: Say,
    *,
    classes: tuple[str, ...],
    splits: Mapping[str, AnySplit],
    groups: np.ndarray | None = None,
    rows: Mapping[str, tuple[Row, ...]] | None = None,
    notes: tuple[str, ...] = (),
    **extras: Any,
) -> Dataset:
    """Three splits out of those that the set comes with; `rows` are their files, where it has some."""
    if "train" not in splits:
        raise UserError(f"{config.name} has no train split with labels; it has {', '.join(splits) or 'none'}")
    labels = {name: split.labels for name, split in splits.items()}
    places = cut_splits(config, labels, groups)
    cut = {name: splits[own].take(indices) for name, (own, indices) in places.items()}
    for name in ("train", "test"):
        if not len(cut[name]):
            raise UserError(f"{config.name} leaves no image in its {name} split{why_empty(groups)}")
    top = max(int(part.labels.max(initial=0)) for part in cut.values())
    if classes and top >= len(classes):
        raise UserError(f"{config.name} has a label {top} and names only {len(classes)} classes")
    if places["test"][0] == "validation":
        held_out = f"; {100 * config.val_fraction:g} % of the training images are held out for validation"
        said = "there is no test split: the validation images are used as one, read once at the end"
        notes = (said + (held_out if config.val_fraction else ""), *notes)
    if groups is not None:
        notes = (*notes, *shortages(config, labels["train"], groups, places, classes))
    manifest = None if rows is None else _manifest(rows, places)
    return _dataset(config, classes=classes, splits=cut, manifest=manifest, notes=notes, **extras)


def _manifest(rows: Mapping[str, tuple[Row, ...]], places: Mapping[str, tuple[str, np.ndarray]]) -> Manifest:
    """The files of the three splits, and those that are in none."""
    made = [rows[own][i]._replace(split=name) for name, (own, indices) in places.items() for i in indices]
    used = {row.path for row in made}
    rest = [row._replace(split=UNUSED) for own in rows.values() for row in own if row.path not in used]
    return Manifest((*made, *rest))


def _dataset(config: DataConfig, *, classes: tuple[str, ...], splits: Mapping[str, AnySplit], **extras: Any) -> Dataset:
    """The data set of three splits."""
    train = splits["train"]
    return Dataset(
        config.name,
        classes,
        train,
        splits["validation"],
        splits["test"],
        normalization=_given_normalization(config, train.shape[-1]),
        class_weights=(
            balanced_weights(np.bincount(train.labels, minlength=len(classes)))
            if config.class_weights == "balanced"
            else None
        ),
        **extras,
    )


def _given_normalization(config: DataConfig, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    if config.mean is None or config.std is None:
        return None
    if len(config.mean) != channels:
        raise UserError(f"data.mean has {len(config.mean)} numbers, the images of {config.name} {channels} channels")
    return np.asarray(config.mean, np.float32), np.asarray(config.std, np.float32)
