"""One way to look at a network: a picture, what is seen on it in words, and its numbers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.report.files import short, write_table
from fcnn.utils.files import write_bytes


@dataclasses.dataclass(frozen=True)
class Look:
    """A picture with its numbers."""

    name: str
    """Of its files: NAME.png and NAME.csv."""
    heading: str
    words: str
    """What is seen; in the place of a picture, why there is none."""
    picture: bytes | None = None
    """A PNG."""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()

    def write(self, folder: Path) -> None:
        """Writes the files; those of an earlier look that there are none of now are removed."""
        (folder / f"{self.name}.png").unlink(missing_ok=True)
        (folder / f"{self.name}.csv").unlink(missing_ok=True)
        if self.picture is not None:
            write_bytes(folder / f"{self.name}.png", self.picture)
        if self.head:
            write_table(folder / f"{self.name}.csv", self.head, self.rows)


def sheet(rows: int, columns: int, *, side: float = 1.6, titles: float = 0.35) -> tuple[Any, np.ndarray]:
    """An empty Matplotlib figure and its axes, (rows, columns), without ticks.

    Args:
      side: of an axis, in inches.
      titles: room above each, in inches.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(columns * side, rows * (side + titles)))
    figure.set_layout_engine("constrained", h_pad=0.06)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def draw_image(axis: Any, image: np.ndarray, title: str = "") -> None:
    """An image (H, W, C) uint8 in its colors; of a small one each pixel is seen."""
    small = max(image.shape) < 64
    shown = image.squeeze(-1) if image.shape[-1] == 1 else image
    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if small else "antialiased")
    axis.set_title(short(title), fontsize=8)
