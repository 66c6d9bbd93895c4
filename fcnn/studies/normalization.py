"""Normalization: the learning rates that batch norm allows, how little it depends on the initial weights, and what it
loses with small batches, where group and layer norm don't."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_curves, levels, percent, pick
from fcnn.studies.training import ConvStack, Trainer, fewer
from fcnn.training.state import TrainState

TRAINED = 0.8
"""A network that reaches this accuracy on the test images, in the mean over seeds, has been trained."""
WITH_AND_WITHOUT: tuple[Literal["none", "batch"], ...] = ("none", "batch")
NORMS: tuple[Literal["batch", "group", "layer"], ...] = ("batch", "group", "layer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormRates(Study):
    """The same network with and without batch norm, at rates from far too low to far too high."""

    claim = "batch norm allows learning rates at least 5 times as high"
    paper = "Ioffe & Szegedy 2015, arXiv:1502.03167, sections 3.3 and 4.2.2 (5 and 30 times)"
    criterion = (
        f"the highest rate that reaches {100 * TRAINED:.0f} % mean accuracy is at least 5 times as high with batch norm"
    )
    keys = ("norm", "rate")

    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    steps: int = 400
    batch_size: int = 32

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        def train(trainer: Trainer, rate: float, run: int) -> TrainState:
            return trainer.train(run, rate)[0]

        return _measure(self, data, progress, "rate", self.rates, self.runs(seed), train)

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        without, within = (trained(rows, norm, "rate") for norm in WITH_AND_WITHOUT)
        if not without or not within:
            name = "without" if not without else "with"
            return Verdict(False, f"no rate trained the network {name} batch norm, so there is nothing to compare")
        ratio = max(within) / max(without)
        return Verdict(
            ratio >= 5,
            f"rates up to {max(without):g} trained the network without batch norm, up to {max(within):g} with it, "
            f"{ratio:.3g} times as high",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        _draw_accuracy(rows, figure, "rate", "learning rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormInit(Study):
    """The same network with and without batch norm, its initial weights multiplied by factors far from 1."""

    claim = "batch norm makes a network insensitive to the scale of its initial weights"
    paper = "Ioffe & Szegedy 2015, arXiv:1502.03167, sections 1 and 3.3, BN(aWu) = BN(Wu)"
    criterion = (
        f"the range of factors that reach {100 * TRAINED:.0f} % mean accuracy, highest over lowest, is at least 10 "
        "times as wide with batch norm"
    )
    keys = ("norm", "scale")

    scales: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    rate: float = 0.3
    steps: int = 400
    batch_size: int = 32

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        def train(trainer: Trainer, scale: float, run: int) -> TrainState:
            state = trainer.start(run)
            kernels = jax.tree.map(lambda leaf: leaf * np.float32(scale) if leaf.ndim > 1 else leaf, state.params)
            return trainer.train(run, self.rate, state.replace(params=kernels))[0]

        return _measure(self, data, progress, "scale", self.scales, self.runs(seed), train)

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        widths, ranges = [], []
        for norm, name in zip(WITH_AND_WITHOUT, ("without batch norm", "with it"), strict=True):
            scales = trained(rows, norm, "scale")
            widths.append(max(scales) / min(scales) if scales else 0.0)
            ranges.append(f"{min(scales):g} to {max(scales):g} {name}" if scales else f"none {name}")
        return Verdict(
            widths[1] > 0 and widths[1] >= 10 * widths[0],
            f"of the factors on He's initial weights, these trained the network: {', '.join(ranges)}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        _draw_accuracy(rows, figure, "scale", "factor on the initial weights (He's)")


def _measure(
    study: BatchNormRates | BatchNormInit, data: Dataset, progress: Progress, column: str, values: Sequence[float],
    runs: range, train: Callable[[Trainer, float, int], TrainState],
) -> list[Row]:  # fmt: skip
    """The test accuracy of three convolutions, which train without batch norm too, by plain gradient descent at a
    constant rate; `train` gets the trainer, one of the column's values, and the seed."""
    optim, trainers = OptimConfig(momentum=0.0, schedule="constant"), {}
    for norm in WITH_AND_WITHOUT:
        model = ConvStack(num_classes=len(data.classes), norm=norm, depth=3)
        trainers[norm] = Trainer(data, model, optim, study.steps, study.batch_size)
    cases = [(norm, value, run) for norm in WITH_AND_WITHOUT for value in values for run in runs]
    rows = []
    for norm, value, run in progress(cases, "runs", len(cases)):
        accuracy = trainers[norm].score(train(trainers[norm], value, run), data.test).accuracy
        rows.append({"norm": norm, column: value, "seed": run, "accuracy": accuracy})
    return rows


def trained(rows: Sequence[Row], norm: str, column: str) -> list[float]:
    """The values of a column at which networks with this norm are trained."""
    accuracy = {value: pick(rows, "accuracy", norm=norm, **{column: value}) for value in levels(rows, column)}
    return [value for value in accuracy if accuracy[value].mean() >= TRAINED]


def _draw_accuracy(rows: Sequence[Row], figure: Any, column: str, label: str) -> None:
    """Accuracy by a column on a logarithmic axis, a curve for each norm."""
    axis = figure.subplots()
    axis.axhline(TRAINED, color="tab:gray", linestyle="--", linewidth=1, label="counts as trained")
    labels = {"none": "no norm", "batch": "batch norm"}
    draw_curves(axis, rows, column, {"accuracy": "accuracy on the test images"}, "norm", labels)
    axis.set(xscale="log", xlabel=label, ylim=(0, 1.02))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSize(Study):
    """The same images seen by batches of different size, at a rate in proportion to it: the accuracy on the test
    images, and the `gap` |loss in evaluation - loss in training mode| on the training images after the last step."""

    claim = (
        "with small batches, batch norm loses accuracy and behaves differently in training and evaluation; group and "
        "layer norm don't"
    )
    paper = (
        "Ioffe 2017, Batch renormalization, arXiv:1702.03275, section 1; Wu & He 2018, Group normalization, "
        "arXiv:1803.08494, section 4.1 (figures 1 and 5)"
    )
    criterion = (
        "with the smallest batch batch norm's accuracy is clearly below its own with the largest, and below group and "
        "layer norm's with the smallest (by two standard errors), and its gap is clearly above theirs"
    )
    keys = ("norm", "batch")

    batches: tuple[int, ...] = (2, 8, 32)
    images: int = 240
    epochs: int = 30
    rate: float = 0.1
    """For 32 images a step."""

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        data, rows = fewer(data, self.images), []
        cases = [(norm, batch) for norm in NORMS for batch in self.batches]
        for norm, batch in progress(cases, "networks", len(cases)):
            model = ConvStack(num_classes=len(data.classes), norm=norm, depth=4)
            optim = OptimConfig(learning_rate=self.rate * batch / 32)
            trainer = Trainer(data, model, optim, self.epochs * len(data.train) // batch, batch)
            for run in self.runs(seed):
                state, _ = trainer.train(run)
                train, evaluation = (trainer.score(state, data.train, train=mode).loss for mode in (True, False))
                accuracy, gap = trainer.score(state, data.test).accuracy, abs(evaluation - train)
                rows.append(dict(norm=norm, batch=batch, seed=run, accuracy=accuracy, gap=gap))
        return rows

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        small, large = min(levels(rows, "batch")), max(levels(rows, "batch"))
        accuracy, gap = (
            {norm: pick(rows, column, norm=norm, batch=small) for norm in NORMS} for column in ("accuracy", "gap")
        )
        best = pick(rows, "accuracy", norm="batch", batch=large)
        held = clearly_above(best, accuracy["batch"]) and all(
            clearly_above(accuracy[norm], accuracy["batch"]) and clearly_above(gap["batch"], gap[norm])
            for norm in NORMS[1:]
        )
        results = ", ".join(
            f"{percent(accuracy[norm])} with {norm} norm (gap {gap[norm].mean():.2g})" for norm in NORMS
        )
        return Verdict(
            held,
            f"in batches of {small} the accuracy was {results}; batch norm in batches of {large} had {percent(best)}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        axes, batches = figure.subplots(1, 2), levels(rows, "batch")
        columns = {"accuracy": "accuracy on the test images", "gap": "|loss in evaluation - loss in training mode|"}
        draw_curves(axes, rows, "batch", columns, "norm", {norm: f"{norm} norm" for norm in NORMS})
        for axis in axes:
            axis.set(xscale="log", xlabel="images a step")
            axis.set_xticks(batches, map(str, batches))
            axis.set_xticks([], minor=True)
