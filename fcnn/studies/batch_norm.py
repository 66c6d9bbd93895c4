"""Batch norm: the learning rates that it allows, and how little it cares about the initial weights."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.networks import ConvStack
from fcnn.studies.study import Study, Verdict, curve, levels, pick
from fcnn.studies.training import Trainer
from fcnn.training.state import TrainState

TRAINED = 0.8
"""A network that reaches this accuracy on the test images, in the mean over seeds, has been trained."""
NORMS: tuple[Literal["none", "batch"], ...] = ("none", "batch")


def trainer(data: Dataset, norm: Literal["none", "batch"], *, steps: int, batch_size: int) -> Trainer:
    """Three convolutions, which train without batch norm too, by plain gradient descent at a constant rate."""
    model = ConvStack(num_classes=len(data.classes), norm=norm, depth=3)
    optim = OptimConfig(name="sgd", schedule="constant")
    return Trainer(data, model, optim, steps=steps, batch_size=batch_size)


def trained(rows: Sequence[Any], norm: str, column: str) -> list[float]:
    """The values of a column at which networks with this norm are trained."""
    return [
        value for value in levels(rows, column)
        if pick(rows, "accuracy", norm=norm, **{column: value}).mean() >= TRAINED
    ]  # fmt: skip


def draw_accuracy(rows: Sequence[Any], figure: Any, column: str, label: str) -> None:
    """Accuracy by a column on a logarithmic axis, a curve for each norm."""
    axis = figure.subplots()
    for norm in NORMS:
        curve(axis, rows, column, "accuracy", label={"none": "no norm", "batch": "batch norm"}[norm], norm=norm)
    axis.axhline(TRAINED, color="tab:gray", linestyle="--", linewidth=1, label="counts as trained")
    axis.set(xscale="log", xlabel=label, ylabel="accuracy on the test images", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


class RateRow(NamedTuple):
    """One network, trained at one rate."""

    norm: str
    rate: float
    seed: int
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormRates(Study):
    """The same network with and without batch norm, at rates from far too low to far too high."""

    claim = "batch norm allows learning rates at least 5 times as high"
    paper = "Ioffe & Szegedy 2015, arXiv:1502.03167, sections 3.3 and 4.2.2 (5 and 30 times)"
    criterion = (
        f"the highest rate that trains the network (to {100 * TRAINED:.0f} % in the mean) is at least 5 times as high "
        "with batch norm"
    )
    keys = ("norm", "rate")

    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    steps: int = 400
    batch_size: int = 32

    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[RateRow]:
        trainers = {norm: trainer(data, norm, steps=self.steps, batch_size=self.batch_size) for norm in NORMS}
        cases = [(norm, rate, run) for norm in NORMS for rate in self.rates for run in self.runs(seed)]
        rows = []
        for norm, rate, run in progress(cases, "runs", len(cases)):
            state, _ = trainers[norm].train(run, rate)
            rows.append(RateRow(norm, rate, run, trainers[norm].score(state, data.test).accuracy))
        return rows

    def judge(self, rows: Sequence[RateRow]) -> Verdict:
        without, within = (trained(rows, norm, "rate") for norm in NORMS)
        if not without or not within:
            name = "without" if not without else "with"
            return Verdict(False, f"no rate trained the network {name} batch norm, so there is nothing to compare")
        ratio = max(within) / max(without)
        return Verdict(
            ratio >= 5,
            f"rates up to {max(without):g} trained the network without batch norm, up to {max(within):g} with it, "
            f"{ratio:.3g} times as high",
        )

    def draw(self, rows: Sequence[RateRow], figure: Any) -> None:
        draw_accuracy(rows, figure, "rate", "learning rate")


class ScaleRow(NamedTuple):
    """One network, trained from initial weights of one scale."""

    norm: str
    scale: float
    seed: int
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormInit(Study):
    """The same network with and without batch norm, its initial weights multiplied by factors far from 1."""

    claim = "batch norm makes a network insensitive to the scale of its initial weights"
    paper = "Ioffe & Szegedy 2015, arXiv:1502.03167, sections 1 and 3.3, BN(aWu) = BN(Wu)"
    criterion = (
        f"the range of factors that train the network (to {100 * TRAINED:.0f} % in the mean), highest over lowest, is "
        "at least 10 times as wide with batch norm"
    )
    keys = ("norm", "scale")

    scales: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    rate: float = 0.3
    steps: int = 400
    batch_size: int = 32

    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[ScaleRow]:
        trainers = {norm: trainer(data, norm, steps=self.steps, batch_size=self.batch_size) for norm in NORMS}
        cases = [(norm, scale, run) for norm in NORMS for scale in self.scales for run in self.runs(seed)]
        rows = []
        for norm, scale, run in progress(cases, "runs", len(cases)):
            state, _ = trainers[norm].train(run, self.rate, scaled(trainers[norm].start(run), scale))
            rows.append(ScaleRow(norm, scale, run, trainers[norm].score(state, data.test).accuracy))
        return rows

    def judge(self, rows: Sequence[ScaleRow]) -> Verdict:
        widths, told = [], []
        for norm, name in zip(NORMS, ("without batch norm", "with it"), strict=True):
            found = trained(rows, norm, "scale")
            widths.append(max(found) / min(found) if found else 0.0)
            told.append(f"{min(found):g} to {max(found):g} {name}" if found else f"none {name}")
        return Verdict(
            widths[1] > 0 and widths[1] >= 10 * widths[0],
            f"of the factors on He's initial weights, these trained the network: {', '.join(told)}",
        )

    def draw(self, rows: Sequence[ScaleRow], figure: Any) -> None:
        draw_accuracy(rows, figure, "scale", "factor on the initial weights (He's)")


def scaled(state: TrainState, factor: float) -> TrainState:
    """The state with every kernel multiplied by a factor."""
    params = jax.tree.map(lambda leaf: leaf * np.float32(factor) if leaf.ndim > 1 else leaf, state.params)
    return state.replace(params=params)
