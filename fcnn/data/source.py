"""From a name to a loaded `Dataset`: prepared, read, and cut into train, validation and test."""

import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.config import DataConfig
from fcnn.data.cache import data_dir
from fcnn.data.dataset import AnySplit, Dataset, Split, balanced_weights
from fcnn.data.earlier import changes, follow
from fcnn.data.manifest import UNUSED, Manifest, Row, RunFiles
from fcnn.data.parallel import Progress, no_progress
from fcnn.data.splits import cut_splits, shortages, why_empty
from fcnn.data.streamed import Streamed, streams
from fcnn.utils.errors import UserError

Log = Callable[[str], None]


def load(
    config: DataConfig, *, run: RunFiles | None = None, log: Log = lambda _: None, progress: Progress = no_progress
) -> Dataset:
    """Loads a data set, preparing it first if this is the first use.

    Args:
      config: which one, and how it is split.
      run: of a folder, the files and splits that a run has; None to cut the splits.
      log: takes what is slow and what a person should know, a line at a time.
      progress: shows progress.

    Raises:
      UserError: it isn't there, or isn't what it should be.
    """
    kind, _, path = config.name.partition(":")
    if kind != "folder":
        return _cut(config, **_load_tfds(config, log, progress))
    from fcnn.data.folder import load_folder, load_run_files

    root = Path(path).expanduser()
    if run is not None:
        return _dataset(config, **load_run_files(root, config, run, log, progress))
    return _cut(config, **load_folder(root, config, progress))


def outline(config: DataConfig, size: int) -> Dataset:
    """Returns the classes and the shape of a set with `size` blank images in each split: for a program that is compiled
    and not run. Nothing is prepared or downloaded, but a folder must be there.
    """
    if config.name.startswith("folder:"):
        whole = load(config)
        classes, shape = whole.classes, whole.train.shape
    else:
        from fcnn.data import stock

        classes, shape = stock.form(_open_builder(config), config.name, image_size=config.image_size)
    blank = Streamed(np.zeros((1, *shape), np.uint8), np.zeros(size, np.int32), np.zeros(size, int))
    gray = np.full(shape[-1], 0.5, np.float32)
    return Dataset(
        config.name,
        classes,
        *(blank, blank, blank),
        normalization=_normalization(config, shape[-1]) or (gray, gray),
        class_weights=np.ones(len(classes), np.float32) if config.class_weights == "balanced" else None,
    )


def open_prepared(config: DataConfig, log: Log) -> Any:
    """Opens the builder of a set that TFDS reads, prepared first if this is the first use."""
    # TFDS logs on every use that OpenCV would decode faster than Pillow, which is what we chose.
    logging.getLogger("absl").setLevel(logging.ERROR)
    builder = _open_builder(config)
    from fcnn.data import builders, stock

    if isinstance(builder, builders.Official) and not builder.data_path.exists():
        manual_dir = None if config.manual_dir is None else Path(config.manual_dir)
        builder.arrays = builders.obtain(builder.OFFICIAL, manual_dir, log)
    stock.prepare_files(builder, config.name, log)
    return builder


def _open_builder(config: DataConfig) -> Any:
    if importlib.util.find_spec("array_record") is None:
        raise UserError(
            f"{config.name} needs the package array-record, which isn't installed and has no version for Windows: use "
            "WSL there, or a folder of images, folder:PATH"
        )
    from fcnn.data import builders, stock  # imported here because it is slow, and half of the commands need no data

    _, _, spec = config.name.partition(":")
    if spec:
        return stock.open_tfds(spec)
    return builders.BUILDERS[config.name](data_dir=data_dir(), file_format="array_record")


def _load_tfds(config: DataConfig, log: Log, progress: Progress) -> dict[str, Any]:
    """Returns the classes and splits of a set that TFDS reads."""
    builder = open_prepared(config, log)
    from fcnn.data import stock

    classes, arrays = stock.read_tfds(builder, config.name, image_size=config.image_size, progress=progress)
    splits: dict[str, AnySplit] = {name: Split(array["image"], array["label"]) for name, array in arrays.items()}
    if streams(config.pipeline, sum(array["image"].nbytes for array in arrays.values())):
        splits = {k: Streamed(s.images, np.ascontiguousarray(s.labels), np.arange(len(s))) for k, s in splits.items()}
    return {"classes": classes, "splits": splits}


def _cut(
    config: DataConfig,
    *,
    classes: tuple[str, ...],
    splits: Mapping[str, AnySplit],
    groups: np.ndarray | None = None,
    known: np.ndarray | None = None,
    earlier: Manifest | None = None,
    rows: Mapping[str, tuple[Row, ...]] | None = None,
    removed: tuple[Row, ...] = (),
    notes: tuple[str, ...] = (),
    **extras: Any,
) -> Dataset:
    """Returns a data set of three splits, cut of those that it comes with; the arguments are what `load_folder`
    returns."""
    if "train" not in splits:
        raise UserError(f"{config.name} has no train split with labels; it has {', '.join(splits) or 'none'}")
    labels = {name: split.labels for name, split in splits.items()}
    places = cut_splits(config, labels, groups, known)
    cut = {name: splits[own].take(indices) for name, (own, indices) in places.items()}
    for name in ("train", "test"):
        if not len(cut[name]):
            raise UserError(f"{config.name} leaves no image in its {name} split{why_empty(groups)}")
    top = max(int(part.labels.max(initial=0)) for part in cut.values())
    if classes and top >= len(classes):
        raise UserError(f"{config.name} has a label {top} and names only {len(classes)} classes")
    if places["test"][0] == "validation":
        held_out = f"; {100 * config.val_fraction:g} % of the training images are held out for validation"
        note = "there is no test split: the validation images are used as one, read once at the end"
        notes = (note + (held_out if config.val_fraction else ""), *notes)
    if groups is not None and earlier is None:
        notes = (*notes, *shortages(config, labels["train"], groups, places, classes))
    manifest = None if rows is None else Manifest((*_rows(rows, places), *removed))
    if manifest is not None and earlier is not None:
        manifest = follow(earlier, manifest.rows)
        notes = (*changes(earlier, manifest, Path(str(config.splits)).resolve().parent.name), *notes)
    train_groups = None if groups is None else groups[places["train"][1]]
    return _dataset(config, classes=classes, splits=cut, groups=train_groups, manifest=manifest, notes=notes, **extras)


def _rows(rows: Mapping[str, tuple[Row, ...]], places: Mapping[str, tuple[str, np.ndarray]]) -> tuple[Row, ...]:
    """Returns the files of the three splits, and those that are in none."""
    used = [rows[own][i]._replace(split=name) for name, (own, indices) in places.items() for i in indices]
    paths = {row.path for row in used}
    unused = [row._replace(split=UNUSED) for own in rows.values() for row in own if row.path not in paths]
    return (*used, *unused)


def _dataset(config: DataConfig, *, classes: tuple[str, ...], splits: Mapping[str, AnySplit], **extras: Any) -> Dataset:
    train = splits["train"]
    balanced = config.class_weights == "balanced"
    return Dataset(
        config.name,
        classes,
        train,
        splits["validation"],
        splits["test"],
        normalization=_normalization(config, train.shape[-1]),
        class_weights=balanced_weights(np.bincount(train.labels, minlength=len(classes))) if balanced else None,
        **extras,
    )


def _normalization(config: DataConfig, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the mean and standard deviation that the config sets."""
    if config.mean is None or config.std is None:
        return None
    if len(config.mean) != channels:
        raise UserError(f"data.mean has {len(config.mean)} numbers, the images of {config.name} {channels} channels")
    return np.asarray(config.mean, np.float32), np.asarray(config.std, np.float32)
