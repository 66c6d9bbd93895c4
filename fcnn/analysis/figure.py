"""Figures: a picture with its numbers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.report.files import new_figure, shorten, write_table
from fcnn.utils.files import write_bytes


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture with its numbers."""

    name: str
    """Of its files: NAME.png and NAME.csv."""
    heading: str
    caption: str
    """What the picture shows, or why there is none."""
    picture: bytes | None = None
    """A PNG."""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()

    def write(self, folder: Path) -> None:
        """Writes the files; those of an earlier figure that there are none of now are removed."""
        (folder / f"{self.name}.png").unlink(missing_ok=True)
        (folder / f"{self.name}.csv").unlink(missing_ok=True)
        if self.picture is not None:
            write_bytes(folder / f"{self.name}.png", self.picture)
        if self.head:
            write_table(folder / f"{self.name}.csv", self.head, self.rows)


def subplots(rows: int, columns: int, *, side: float) -> tuple[Any, np.ndarray]:
    """Returns an empty Matplotlib figure and its axes, (rows, columns), of `side` inches, without ticks."""
    figure = new_figure(columns * side, rows * (side + 0.35))
    figure.set_layout_engine("constrained", h_pad=0.06)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def draw_image(axis: Any, image: np.ndarray, title: str = "") -> None:
    """Draws an image (H, W, C) uint8 in its colors; of a small one each pixel is visible."""
    interpolation = "nearest" if max(image.shape) < 64 else "antialiased"
    pixels = image.squeeze(-1) if image.shape[-1] == 1 else image
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
    axis.set_title(shorten(title), fontsize=8)
