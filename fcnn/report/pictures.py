"""Small pictures for a page: an image enlarged to be seen, filters side by side."""

import math

import numpy as np
from PIL import Image

from fcnn.report.files import png

SIDE = 112
"""Pixels of a picture's longer side."""
MOST = 64
"""Filters that are shown."""


def thumbnail(image: np.ndarray, side: int = SIDE) -> Image.Image:
    """Returns an image (H, W, C) uint8 with its longer side at most `side`; small ones are enlarged by a whole factor,
    so that their pixels are visible."""
    original = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    factor = side / max(original.size)
    resampling = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    factor = int(factor) if factor >= 1 else factor
    size = (max(round(original.width * factor), 1), max(round(original.height * factor), 1))
    return original.resize(size, resampling)


def tiles(filters: np.ndarray) -> bytes:
    """Returns filters side by side as a PNG, each on a scale of its own with zero in the middle gray.

    Args:
      filters: (N, H, W, C); in color if C is 3, else the mean over C. The first MOST are shown.
    """
    filters = filters[:MOST]
    if filters.shape[-1] != 3:
        filters = filters.mean(axis=-1, keepdims=True)
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    scaled = np.round(127.5 + 127.5 * filters / np.maximum(largest, 1e-12)).astype(np.uint8)
    count, height, width, channels = scaled.shape
    across = min(math.ceil(math.sqrt(2 * count)), 16)
    down = math.ceil(count / across)
    sheet = np.full((down * (height + 1) - 1, across * (width + 1) - 1, channels), 255, np.uint8)
    for i, tile in enumerate(scaled):
        top, left = i // across * (height + 1), i % across * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    factor = max(640 // sheet.shape[1], 1)
    return png(Image.fromarray(sheet.repeat(factor, axis=0).repeat(factor, axis=1).squeeze()))
