"""Optimizers: whether those that adapt each weight's rate generalize worse than plain gradient descent."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fcnn import models
from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.study import Study, Verdict, clearly_above, dots, percent, pick
from fcnn.studies.training import Trainer, fewer

RATES: dict[str, tuple[float, ...]] = {
    "sgd": (0.03, 0.1, 0.3),
    "momentum": (0.01, 0.03, 0.1),
    "adagrad": (0.01, 0.03, 0.1),
    "rmsprop": (0.001, 0.003, 0.01),
    "adam": (0.001, 0.003, 0.01),
}
"""The rates that each is tried with, around the one that is usual for it."""
PLAIN, ADAPTIVE = ("sgd", "momentum"), ("adagrad", "rmsprop", "adam")


class Row(NamedTuple):
    """One run at the rate that was best on the validation images, in the mean over the seeds."""

    optimizer: str
    rate: float
    seed: int
    loss: float
    """On the training images, after the last step."""
    accuracy: float
    """On the test images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizers(Study):
    """A small CNN and few images, so that all methods fit them; each method at its own best rate."""

    claim = "adaptive optimizers fit the training images as well as gradient descent with momentum and generalize worse"
    paper = "Wilson et al. 2017, The marginal value of adaptive gradient methods, arXiv:1705.08292, sections 4.1 and 5"
    criterion = (
        "the better of SGD and momentum is clearly more accurate on the test images (by two standard errors) than each "
        "of AdaGrad, RMSProp and Adam, whose training loss is no more than 0.05 above"
    )
    keys = ("optimizer", "rate")

    images: int = 300
    steps: int = 250
    batch_size: int = 32

    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        data = fewer(data, self.images)
        model = models.create("shallow_cnn", num_classes=len(data.classes), width_multiplier=0.5)
        rows = []
        for name in progress(RATES, "optimizers", len(RATES)):
            optim = OptimConfig(name=name)
            trainer = Trainer(data, model, optim, steps=self.steps, batch_size=self.batch_size)
            tried = {rate: [trainer.train(run, rate)[0] for run in self.runs(seed)] for rate in RATES[name]}
            chosen = {
                rate: np.mean([trainer.score(state, data.validation).accuracy for state in states])
                for rate, states in tried.items()
            }
            rate = max(chosen, key=lambda rate: chosen[rate])
            for run, state in zip(self.runs(seed), tried[rate], strict=True):
                loss, accuracy = trainer.score(state, data.train).loss, trainer.score(state, data.test).accuracy
                rows.append(Row(name, rate, run, loss, accuracy))
        return rows

    def judge(self, rows: Sequence[Row]) -> Verdict:
        found = {name: pick(rows, "accuracy", optimizer=name) for name in RATES}
        losses = {name: float(pick(rows, "loss", optimizer=name).mean()) for name in RATES}
        best = max(PLAIN, key=lambda name: found[name].mean())
        fits = all(losses[name] <= losses[best] + 0.05 for name in ADAPTIVE)
        worse = [name for name in ADAPTIVE if clearly_above(found[best], found[name])]
        told = ", ".join(f"{name} {percent(found[name])}" for name in RATES)
        beaten = ", ".join(worse) if worse else "none of the adaptive ones"
        return Verdict(
            fits and len(worse) == len(ADAPTIVE),
            f"on the test images {told}; {best} was clearly more accurate than {beaten}, at training losses of "
            f"{min(losses.values()):.2g} to {max(losses.values()):.2g}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        dots(left, rows, "optimizer", "accuracy")
        dots(right, rows, "optimizer", "loss")
        left.set(ylabel="accuracy on the test images")
        right.set(ylabel="loss on the training images", yscale="log")
