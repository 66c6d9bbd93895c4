"""The receptive field of a unit: the part of the image that it can see, drawn on the image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.analysis.figure import Figure, draw_image, subplots
from fcnn.analysis.show.activations import LAYERS, evenly_spaced
from fcnn.analysis.show.input import AnalysisInput
from fcnn.models.trace import Everything, View, walk
from fcnn.report.files import png

ACROSS = 6
"""Panels in a row."""


def views(inputs: AnalysisInput) -> dict[str, View | Everything]:
    """What each endpoint sees of the image."""
    images = jax.ShapeDtypeStruct((1, *inputs.setup.dataset.image_shape), jnp.float32)

    def apply(variables: Any, images: Any) -> Any:
        return inputs.setup.model.apply(variables, images, train=False)

    return {mark.name: mark.view for mark in walk(apply, inputs.variables, images)}


def box(view: View | Everything, position: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The first and last row and column of what the unit at `place` sees, those of the padding included: (top, left,
    bottom, right); `size` is the image's."""
    if isinstance(view, Everything):
        return 0, 0, size[0] - 1, size[1] - 1
    top, left = (low + i * step for low, i, step in zip(view.low, position, view.step, strict=True))
    bottom, right = (high + i * step for high, i, step in zip(view.high, position, view.step, strict=True))
    return top, left, bottom, right


def show_receptive_field(inputs: AnalysisInput) -> Figure:
    """The receptive field of each layer's most active unit."""
    heading = "What a unit sees: receptive fields"
    if not inputs.spatial:
        return Figure("receptive_field", heading, "The model names no layer with positions.")
    fields, (height, width, _), rows = views(inputs), inputs.image.shape, []
    for name in inputs.spatial:
        maps = inputs.activations[name]
        row, column, channel = (int(i) for i in np.unravel_index(int(maps.argmax()), maps.shape))
        corners = box(fields[name], (row, column), (height, width))
        rows.append((name, channel, row, column, float(maps.max()), *corners))
    drawn = [row for row in rows if row[0] in evenly_spaced(inputs.spatial, LAYERS)]
    across = min(len(drawn), ACROSS)
    figure, axes = subplots(-(-len(drawn) // across), across, side=1.9)
    for axis, (name, channel, row, column, _, *corners) in zip(axes.flat, drawn, strict=False):
        _draw(axis, inputs.image, corners)
        field = f"{corners[2] - corners[0] + 1} x {corners[3] - corners[1] + 1} pixels"
        axis.set_title(f"{name}: channel {channel}\nat ({row}, {column}) sees {field}", fontsize=7)
    caption = (
        f"{inputs.title}, and framed on it what the most active unit of each layer sees, padding beyond the image "
        "included; the rest of the image has no influence on it."
    )
    head = ("layer", "channel", "row", "column", "activation", "top", "left", "bottom", "right")
    return Figure("receptive_field", heading, caption, png(figure), head, rows)


def _draw(axis: Any, image: np.ndarray, corners: Any) -> None:
    """The image with a frame; what is outside is paler."""
    from matplotlib.patches import Rectangle

    top, left, bottom, right = corners
    inside = np.zeros(image.shape[:2], bool)
    inside[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = True
    draw_image(axis, np.where(inside[..., None], image, image // 2 + 64).astype(np.uint8))
    frame = Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1)
    frame.set(fill=False, edgecolor="tab:red", linewidth=2)
    axis.add_patch(frame)
    axis.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
