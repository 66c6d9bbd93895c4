"""A data set at a glance: its numbers as lines, some of its images as a sheet."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcnn.data.dataset import Dataset
from fcnn.report.pictures import thumbnail
from fcnn.utils.batch import Batch, make_batch
from fcnn.utils.text import printable

ROWS, COLUMNS = 20, 8
"""Classes and images of each on a sheet, at most."""
_CELL, _GAP, _INK = 96, 4, 13  # pixels: a cell's side, between cells, the height of letters


def describe(dataset: Dataset) -> list[str]:
    """Returns counts, sizes, mean and standard deviation, and notes; the first line is the summary."""
    height, width, channels = dataset.train.shape
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    mean, std = dataset.mean_std()
    lines = [
        f"{dataset.name}: {len(dataset.classes)} classes; {len(dataset.train):,} training, "
        f"{len(dataset.validation):,} validation, {len(dataset.test):,} test images of {width} x {height} pixels, "
        f"{'gray' if channels == 1 else 'RGB'}"
    ]
    if dataset.files:
        lines.append(f"files: {dataset.files}")
    lines.append(f"mean {' '.join(f'{v:.4f}' for v in mean)}  std {' '.join(f'{v:.4f}' for v in std)} (0 to 1)")
    names = [printable(name) for name in dataset.classes]
    longest = max(len("class"), *map(len, names))
    lines.append(f"{'class':{longest}}  {'  '.join(f'{split:>10}' for split in splits)}")
    counts = [dataset.counts(split) for split in splits.values()]
    for i, name in enumerate(names):
        lines.append(f"{name:{longest}}  {'  '.join(f'{count[i]:>10,}' for count in counts)}")
    lines += [f"left out: {path}" for path in dataset.skipped]
    return lines + [f"note: {note}" for note in dataset.notes]


def pick(dataset: Dataset) -> list[tuple[str, np.ndarray]]:
    """Returns, for each class (or ROWS classes spread over all), its title and (up to COLUMNS, H, W, C) uint8 images of
    the training split."""
    classes = np.unique(np.linspace(0, len(dataset.classes) - 1, min(ROWS, len(dataset.classes))).astype(int))
    rows = []
    for label in classes:
        places = np.flatnonzero(dataset.train.labels == label)
        chosen = places[np.unique(np.linspace(0, len(places) - 1, min(COLUMNS, len(places))).astype(int))]
        rows.append((printable(dataset.classes[label]), dataset.train.read(chosen)))
    return rows


def contact_sheet(dataset: Dataset, augment: Callable[[jax.Array, Batch], Batch], seed: int = 0) -> Image.Image:
    """Returns a sheet with a row of training images for each class, and beside it the same images augmented.

    All images of the sheet are one batch of `augment(key, batch) -> batch`, so that a mixture can be with one of
    another class.
    """
    rows = pick(dataset)
    images = np.concatenate([images for _, images in rows])
    batch = jax.jit(augment)(jax.random.key(seed), make_batch(images, np.zeros(len(images), np.int32)))
    changed = np.clip(np.round(np.asarray(batch["image"])), 0, 255).astype(np.uint8)
    ends = np.cumsum([len(images) for _, images in rows])
    augmented = [(title, part) for (title, _), part in zip(rows, np.split(changed, ends[:-1]), strict=True)]
    return draw_panels({"as stored": rows, "augmented": augmented})


def draw_panels(panels: dict[str, Sequence[tuple[str, np.ndarray]]]) -> Image.Image:
    """Draws rows of images under a title each, the panels side by side, with the rows' titles once, at the left.

    Args:
      panels: for each title its rows, the same in all panels: a title and (up to COLUMNS, H, W, C) uint8.
    """
    font = ImageFont.load_default(_INK)
    titles = [title[:24] for title, _ in next(iter(panels.values()))]
    left = round(max(font.getlength(title) for title in titles)) + 3 * _GAP
    top, step = _INK + 3 * _GAP, _CELL + _GAP
    across = COLUMNS * step + 2 * _GAP
    sheet = Image.new("RGB", (left + across * len(panels), top + len(titles) * step + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for y, title in enumerate(titles):
        pen.text((_GAP, top + y * step + (_CELL - _INK) // 2), title, "black", font)
    for p, (heading, rows) in enumerate(panels.items()):
        pen.text((left + p * across, _GAP), heading, "black", font)
        for y, (_, images) in enumerate(rows):
            for x, image in enumerate(images):
                sheet.paste(thumbnail(image, _CELL), (left + p * across + x * step, top + y * step))
    return sheet
