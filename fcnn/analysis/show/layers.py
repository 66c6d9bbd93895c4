"""What the first layer looks for, and what an image becomes from layer to layer."""

from typing import Any

import numpy as np

from fcnn.analysis.show.look import Look, draw_image, sheet
from fcnn.analysis.show.subject import AnalysisInput
from fcnn.report.files import png
from fcnn.report.pictures import MOST, tiles
from fcnn.training.predictions import first_filters

MAPS = 8
"""Activation maps that are drawn of a layer: those with the largest mean absolute value."""
LAYERS = 12
"""Layers that are drawn, evenly spread, the last among them."""


def show_filters(subject: AnalysisInput) -> Look:
    """The kernels of the first layer: a convolution's filters, or a dense layer's templates."""
    name, filters = first_filters(subject.setup, subject.variables["params"])
    count, height, width, channels = filters.shape
    kind = "templates" if filters.shape[1:] == subject.setup.dataset.image_shape else "filters"
    order = f", of the classes {', '.join(subject.classes[:MOST])} in this order" if name == "head" else ""
    words = (
        f"{min(count, MOST)} of the {count} {kind} of {name}{order}: {height} x {width} pixels, "
        f"{'in color' if channels == 3 else 'in gray'}, each on a scale of its own with zero in the middle gray."
    )
    places = [(i, y, x, c) for i in range(min(count, MOST)) for y, x, c in np.ndindex(height, width, channels)]
    rows = [(*place, float(filters[place])) for place in places]
    return Look(
        "filters", "What the first layer looks for", words, tiles(filters), ("filter", "y", "x", "channel", "w"), rows
    )


def show_activations(subject: AnalysisInput) -> Look:
    """The strongest activation maps of each layer."""
    heading = "What the image becomes, layer by layer"
    if not subject.activations:
        return Look("activations", heading, "The model names no layer between the pixels and the logits.")
    names = spread(list(subject.activations), LAYERS)
    figure, axes = sheet(len(names), MAPS + 1, side=1.25)
    for row, name in zip(axes, names, strict=True):
        found = subject.activations[name]
        draw_image(row[0], subject.image, f"{name}\n{' x '.join(map(str, found.shape))}")
        if found.ndim == 3:
            _draw_maps(row[1:], found)
        else:
            _draw_strip(figure, row, found)
    words = (
        f"{subject.title} at the left of each row, then the {MAPS} activation maps of the layer with the largest mean "
        "absolute value, brighter where they are larger (each on its own scale); a layer without positions is a strip."
    )
    rows = []
    for name, found in subject.activations.items():
        maps = found.reshape(-1, found.shape[-1])
        for channel, values in enumerate(maps.T):
            zeros = float((values == 0).mean())
            rows.append((name, channel, float(values.mean()), float(values.min()), float(values.max()), zeros))
    head = ("layer", "channel", "mean", "min", "max", "share of zeros")
    return Look("activations", heading, words, png(figure), head, rows)


def spread(names: list[str], most: int) -> list[str]:
    """At most so many of them, evenly spread, the first and the last among them."""
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    return [names[i] for i in places]


def _draw_maps(axes: Any, found: np.ndarray) -> None:
    strongest = np.argsort(-np.abs(found).mean(axis=(0, 1)), kind="stable")[:MAPS]
    for axis, channel in zip(axes, strongest, strict=False):
        axis.imshow(found[:, :, channel], cmap="viridis")
        axis.set_title(f"{channel}", fontsize=7)


def _draw_strip(figure: Any, row: Any, found: np.ndarray) -> None:
    """All features side by side, over the whole row."""
    axis = figure.add_subplot(row[0].get_gridspec()[row[0].get_subplotspec().rowspan.start, 1:])
    axis.imshow(found[None], cmap="viridis", aspect="auto")
    axis.set_yticks([])
    axis.tick_params(labelsize=7)
