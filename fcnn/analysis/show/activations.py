"""The filters of the first layer, and the activation maps of an image from layer to layer."""

from typing import Any

import numpy as np

from fcnn.analysis.figure import Figure, draw_image, subplots
from fcnn.analysis.show.input import AnalysisInput
from fcnn.report.files import png
from fcnn.report.pictures import MOST, tiles
from fcnn.training.predictions import first_filters

MAPS = 8
"""Activation maps that are drawn of a layer: those with the largest mean absolute value."""
LAYERS = 12
"""Layers that are drawn, evenly spread, the last among them."""


def show_filters(inputs: AnalysisInput) -> Figure:
    """The kernels of the first layer: a convolution's filters, or a dense layer's templates."""
    name, filters = first_filters(inputs.setup, inputs.variables["params"])
    count, height, width, channels = filters.shape
    kind = "templates" if filters.shape[1:] == inputs.setup.dataset.image_shape else "filters"
    order = f", of the classes {', '.join(inputs.classes[:MOST])} in this order" if name == "head" else ""
    caption = (
        f"{min(count, MOST)} of the {count} {kind} of {name}{order}: {height} x {width} pixels, "
        f"{'in color' if channels == 3 else 'in gray'}, each on a scale of its own with zero in the middle gray."
    )
    positions = [(i, y, x, c) for i in range(min(count, MOST)) for y, x, c in np.ndindex(height, width, channels)]
    rows = [(*position, float(filters[position])) for position in positions]
    head = ("filter", "y", "x", "channel", "w")
    return Figure("filters", "The filters of the first layer", caption, tiles(filters), head, rows)


def show_activations(inputs: AnalysisInput) -> Figure:
    """The strongest activation maps of each layer."""
    heading = "The activation maps, layer by layer"
    if not inputs.activations:
        return Figure("activations", heading, "The model names no layer between the pixels and the logits.")
    names = evenly_spaced(list(inputs.activations), LAYERS)
    figure, axes = subplots(len(names), MAPS + 1, side=1.25)
    for row, name in zip(axes, names, strict=True):
        maps = inputs.activations[name]
        draw_image(row[0], inputs.image, f"{name}\n{' x '.join(map(str, maps.shape))}")
        if maps.ndim == 3:
            _draw_maps(row[1:], maps)
        else:
            _draw_strip(figure, row, maps)
    caption = (
        f"{inputs.title} at the left of each row, then the {MAPS} activation maps of the layer with the largest mean "
        "absolute value, brighter where they are larger (each on its own scale); a layer without positions is a strip."
    )
    rows = []
    for name, maps in inputs.activations.items():
        for channel, values in enumerate(maps.reshape(-1, maps.shape[-1]).T):
            zeros = float((values == 0).mean())
            rows.append((name, channel, float(values.mean()), float(values.min()), float(values.max()), zeros))
    head = ("layer", "channel", "mean", "min", "max", "share of zeros")
    return Figure("activations", heading, caption, png(figure), head, rows)


def evenly_spaced(names: list[str], max_count: int) -> list[str]:
    """At most so many of them, evenly spread, the first and the last among them."""
    positions = np.unique(np.linspace(0, len(names) - 1, min(max_count, len(names))).round().astype(int))
    return [names[i] for i in positions]


def _draw_maps(axes: Any, maps: np.ndarray) -> None:
    strongest = np.argsort(-np.abs(maps).mean(axis=(0, 1)), kind="stable")[:MAPS]
    for axis, channel in zip(axes, strongest, strict=False):
        axis.imshow(maps[:, :, channel], cmap="viridis")
        axis.set_title(f"{channel}", fontsize=7)


def _draw_strip(figure: Any, row: Any, features: np.ndarray) -> None:
    """All features side by side, over the whole row."""
    axis = figure.add_subplot(row[0].get_gridspec()[row[0].get_subplotspec().rowspan.start, 1:])
    axis.imshow(features[None], cmap="viridis", aspect="auto")
    axis.set_yticks([])
    axis.tick_params(labelsize=7)
