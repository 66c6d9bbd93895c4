"""The photographs of a comparison, as a folder that anyone can train on: train/CLASS and test/CLASS, with links."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from filelock import FileLock

from fcnn.config import DataConfig
from fcnn.data import load
from fcnn.data.cache import digest
from fcnn.data.manifest import UNUSED, Manifest, Row
from fcnn.training.linear_probe import FOLDS
from fcnn.utils.errors import UserError


def split_photos(photos: Path, seed: int) -> Manifest:
    """Returns the training and test images of a folder, as a run with this `data.split_seed` would hold them out.
    Validation images of its own are among the training images: each run holds out what it wants of these.

    Raises:
      UserError: it isn't a folder of images by class, or one of them can't be read.
    """
    config = DataConfig(name=f"folder:{photos}", val_fraction=0.0, split_seed=seed, pipeline="stream")
    manifest = load(config).manifest
    assert manifest is not None
    own = (row._replace(split="train") if row.split == UNUSED else row for row in manifest.rows)  # val/, beside test/
    return Manifest(tuple(own))


def subsample(manifest: Manifest, images_per_class: int | None, seed: int) -> Manifest:
    """Returns the same test images, and so many training images of each class: the first ones of an order that doesn't
    depend on how many there are; all of them for None.

    Raises:
      UserError: a class has fewer; or none has enough for the logistic regression's cross-validation.
    """
    train = [row for row in manifest.rows if row.split == "train"]
    test = [row for row in manifest.rows if row.split == "test"]
    if images_per_class is not None:
        order = np.random.default_rng(seed).permutation(len(train))
        taken, chosen = Counter[str](), []
        for row in (train[i] for i in order):
            if taken[row.name] < images_per_class:
                taken[row.name] += 1
                chosen.append(row)
        name, least = min(taken.items(), key=lambda item: item[1])
        if least < images_per_class:
            raise UserError(f"{name} has {least:,} training images, fewer than {images_per_class:,} a class")
        train = sorted(chosen, key=lambda row: row.path)
    if max(Counter(row.name for row in train).values()) < FOLDS:
        raise UserError(f"no class has {FOLDS} training images, which {FOLDS}-fold cross-validation needs")
    return Manifest((*train, *test))


def identity(manifest: Manifest) -> str:
    """Returns a hash of the images and their splits."""
    return digest([list(row) for row in manifest.rows])[:16]


def link_photos(photos: Path, manifest: Manifest, folder: Path) -> None:
    """Makes a folder with a link to each image, or a copy where links can't be made; nothing if it is there."""
    part = folder.with_name(f".{folder.name}.part")  # whole or not at all
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if folder.is_dir():
                return
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            for i, row in enumerate(manifest.rows):
                _link((photos / row.path).resolve(), part / _place(i, row))
            part.rename(folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"{folder} can't be made: {error.strerror}") from None
        raise


def _place(i: int, row: Row) -> Path:
    """Returns where an image is: numbered, as those of different folders may have the same name."""
    return Path(row.split, row.name, f"{i:05d}-{Path(row.path).name}")


def _link(image: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(image, place)
    except OSError:  # a file system without links, or Windows without the right to make them
        shutil.copyfile(image, place)
