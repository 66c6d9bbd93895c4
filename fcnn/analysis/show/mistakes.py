"""What the network answers: to the chosen image, and to a split, class by class, with its surest mistakes."""

import os

import numpy as np

from fcnn.analysis.show.look import Look, draw_image, sheet
from fcnn.analysis.show.subject import AnalysisInput
from fcnn.data import AnySplit
from fcnn.report.files import png, short
from fcnn.training.predictions import Predictions, predicted_places

TOP, MISTAKES, NUMBERS = 5, 24, 20
"""Answers to an image, mistakes that are drawn, and the classes up to which a matrix has its numbers written in."""


def show_answers(subject: AnalysisInput) -> Look:
    """The likeliest classes of the chosen image."""
    order = np.argsort(-subject.probabilities, kind="stable")[:TOP].tolist()
    names, shares = [subject.classes[i] for i in order], subject.probabilities[order]
    figure, axes = sheet(1, 2, side=2.6)
    draw_image(axes[0, 0], subject.image, subject.title)
    axis = axes[0, 1]
    axis.set_axis_on()
    colors = ["tab:green" if i == subject.label else "tab:blue" for i in order]
    axis.barh(range(len(order)), 100 * shares, color=colors)
    axis.set_yticks(range(len(order)), list(map(short, names)))
    axis.invert_yaxis()
    axis.set(xlabel="probability (%)", xlim=(0, 100))
    label = "" if subject.label is None else f", of class {subject.classes[subject.label]}"
    told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names, shares, strict=True))
    rows = [(rank, name, float(share)) for rank, (name, share) in enumerate(zip(names, shares, strict=True), start=1)]
    words = f"{subject.title}{label}: {told}."
    return Look("answers", "What it says", words, png(figure), ("rank", "class", "probability"), rows)


def show_confusion(subject: AnalysisInput, answers: Predictions, name: str) -> Look:
    """Which classes are taken for which."""
    from matplotlib.figure import Figure  # slow to import

    counts, classes = answers.confusion(), subject.classes
    side = min(3 + 0.4 * len(classes), 10)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axis = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axis.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the label's images", shrink=0.8)
    axis.set(xlabel="answer", ylabel="label", title=f"{name} split, {len(answers.split):,} images")
    if len(classes) <= NUMBERS:
        names = list(map(short, classes))
        axis.set_xticks(range(len(classes)), names, rotation=60, ha="right")
        axis.set_yticks(range(len(classes)), names)
        for i, j in zip(*np.nonzero(counts), strict=True):
            axis.text(
                j, i, str(counts[i, j]), ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black"
            )
    right = int(np.trace(counts))
    words = f"Of {len(answers.split):,} images of the {name} split {right:,} are right"
    off = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    i, j = divmod(int(off.argmax()), len(classes))
    words += (
        f"; most often {classes[i]} is taken for {classes[j]}, {off[i, j]:g} of {counts[i].sum():,} times."
        if off.any()
        else "."
    )
    rows = [(name, *row) for name, row in zip(classes, counts.tolist(), strict=True)]
    head = ("label", *classes)
    return Look("confusion", "Which classes are taken for which", words, png(figure), head, rows)


def show_mistakes(subject: AnalysisInput, answers: Predictions, split: AnySplit, name: str) -> Look:
    """The wrong answers that the network is surest of; `split` as a whole, for the images' places in it."""
    heading, wrong, places = "The most confident mistakes", answers.mistakes(MISTAKES), predicted_places(split)
    if not len(wrong):
        return Look("mistakes", heading, f"There are none: all {len(places):,} images of the {name} split are right.")
    across = min(len(wrong), 8)
    figure, axes = sheet(-(-len(wrong) // across), across, side=1.4)
    rows, files = [], subject.setup.dataset.paths(name)
    for axis, i, image in zip(axes.flat, wrong, answers.split.read(wrong), strict=False):
        label, answer = subject.classes[answers.split.labels[i]], subject.classes[answers.top1[i]]
        sure = float(answers.probabilities[i].max())
        place = int(places[i])
        file = files[place]
        draw_image(axis, image, f"{os.path.basename(file) or place}: {label}\nfor {answer}, {100 * sure:.0f} %")
        axis.title.set_fontsize(7)
        rows.append((place, file, label, answer, sure))
    place, file, label, answer, sure = rows[0]
    words = (
        f"{len(wrong)} images of the {name} split with a wrong answer, the surest first: "
        f"{'file' if file else 'index'}, label, answer, its probability. The first, {file or f'image {place}'}, is "
        f"{label} and taken for {answer} with {100 * sure:.0f} %."
    )
    return Look("mistakes", heading, words, png(figure), ("image", "file", "label", "answer", "probability"), rows)
