"""What the network predicts for the chosen image, and for a split, class by class, with its surest mistakes."""

import os

import numpy as np

from fcnn.analysis.figure import Figure, draw_image, subplots
from fcnn.analysis.show.input import AnalysisInput
from fcnn.report.files import new_figure, png, shorten
from fcnn.training.predictions import Predictions

TOP, MISTAKES, NUMBERS = 5, 24, 20
"""Classes of an image, mistakes that are drawn, and the classes up to which a matrix shows its numbers."""


def show_prediction(inputs: AnalysisInput) -> Figure:
    """The likeliest classes of the chosen image."""
    order = np.argsort(-inputs.probabilities, kind="stable")[:TOP].tolist()
    names, shares = [inputs.classes[i] for i in order], inputs.probabilities[order]
    figure, axes = subplots(1, 2, side=2.6)
    draw_image(axes[0, 0], inputs.image, inputs.title)
    axis = axes[0, 1]
    axis.set_axis_on()
    colors = ["tab:green" if i == inputs.label else "tab:blue" for i in order]
    axis.barh(range(len(order)), 100 * shares, color=colors)
    axis.set_yticks(range(len(order)), list(map(shorten, names)))
    axis.invert_yaxis()
    axis.set(xlabel="probability (%)", xlim=(0, 100))
    label = "" if inputs.label is None else f", of class {inputs.classes[inputs.label]}"
    probabilities = ", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names, shares, strict=True))
    rows = [(rank, name, float(share)) for rank, (name, share) in enumerate(zip(names, shares, strict=True), start=1)]
    caption = f"{inputs.title}{label}: {probabilities}."
    return Figure("prediction", "The prediction", caption, png(figure), ("rank", "class", "probability"), rows)


def show_confusion(inputs: AnalysisInput, predictions: Predictions, name: str) -> Figure:
    """Which classes are taken for which."""
    counts, classes = predictions.confusion(), inputs.classes
    side = min(3 + 0.4 * len(classes), 10)
    figure = new_figure(side + 1, side)
    axis = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axis.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the label's images", shrink=0.8)
    axis.set(xlabel="prediction", ylabel="label", title=f"{name} split, {len(predictions.split):,} images")
    if len(classes) <= NUMBERS:
        names = list(map(shorten, classes))
        axis.set_xticks(range(len(classes)), names, rotation=60, ha="right")
        axis.set_yticks(range(len(classes)), names)
        for i, j in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[i, j] > 0.5 else "black"
            axis.text(j, i, str(counts[i, j]), ha="center", va="center", color=color)
    right = int(np.trace(counts))
    caption = f"Of {len(predictions.split):,} images of the {name} split {right:,} are right"
    off = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    i, j = divmod(int(off.argmax()), len(classes))
    if off.any():
        caption += f"; most often {classes[i]} is taken for {classes[j]}, {off[i, j]:g} of {counts[i].sum():,} times"
    rows = [(name, *row) for name, row in zip(classes, counts.tolist(), strict=True)]
    head = ("label", *classes)
    return Figure("confusion", "Which classes are taken for which", f"{caption}.", png(figure), head, rows)


def show_mistakes(inputs: AnalysisInput, predictions: Predictions, name: str) -> Figure:
    """The wrong predictions that the network is surest of, for images of the split `name`."""
    heading, wrong, indices = "The most confident mistakes", predictions.mistakes(MISTAKES), predictions.indices
    if not len(wrong):
        return Figure(
            "mistakes", heading, f"There are none: all {len(indices):,} images of the {name} split are right."
        )
    across = min(len(wrong), 8)
    figure, axes = subplots(-(-len(wrong) // across), across, side=1.4)
    rows, files = [], inputs.setup.dataset.paths(name)
    for axis, i, image in zip(axes.flat, wrong, predictions.split.read(wrong), strict=False):
        label, predicted = inputs.classes[predictions.split.labels[i]], inputs.classes[predictions.top1[i]]
        sure, index, file = float(predictions.probabilities[i].max()), int(indices[i]), files[indices[i]]
        draw_image(axis, image, f"{os.path.basename(file) or index}: {label}\nfor {predicted}, {100 * sure:.0f} %")
        axis.title.set_fontsize(7)
        rows.append((index, file, label, predicted, sure))
    index, file, label, predicted, sure = rows[0]
    caption = (
        f"{len(wrong)} images of the {name} split with a wrong prediction, the surest first: "
        f"{'file' if file else 'index'}, label, prediction, its probability. The first, {file or f'image {index}'}, is "
        f"{label} and taken for {predicted} with {100 * sure:.0f} %."
    )
    return Figure(
        "mistakes", heading, caption, png(figure), ("image", "file", "label", "prediction", "probability"), rows
    )
