"""Optimizers: whether those that adapt each weight's rate generalize worse than plain gradient descent."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnn import models
from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_dots, percent, pick
from fcnn.studies.training import Trainer, fewer

RATES: dict[str, tuple[float, ...]] = {
    "sgd": (0.03, 0.1, 0.3),
    "momentum": (0.01, 0.03, 0.1),
    "adagrad": (0.01, 0.03, 0.1),
    "rmsprop": (0.001, 0.003, 0.01),
    "adam": (0.001, 0.003, 0.01),
}
"""The rates that each is tried with, around the one that is usual for it."""
PLAIN = {"sgd": 0.0, "momentum": 0.9}
"""Gradient descent, with its momentum."""
ADAPTIVE = ("adagrad", "rmsprop", "adam")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizers(Study):
    """A small CNN and few images, so that all methods fit them; each method at the rate that is best on the validation
    images: the loss on the training images after the last step, the accuracy on the test images."""

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

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        data, rows = fewer(data, self.images), []
        model = models.create("shallow_cnn", num_classes=len(data.classes), width_multiplier=0.5)
        for name in progress(RATES, "optimizers", len(RATES)):
            optim = OptimConfig(momentum=PLAIN[name]) if name in PLAIN else OptimConfig(name=name)
            trainer = Trainer(data, model, optim, self.steps, self.batch_size)
            states = {rate: [trainer.train(run, rate)[0] for run in self.runs(seed)] for rate in RATES[name]}
            validation = {
                rate: np.mean([trainer.score(state, data.validation).accuracy for state in states[rate]])
                for rate in states
            }
            rate = max(validation, key=lambda rate: validation[rate])
            for run, state in zip(self.runs(seed), states[rate], strict=True):
                loss, accuracy = trainer.score(state, data.train).loss, trainer.score(state, data.test).accuracy
                rows.append(dict(optimizer=name, rate=rate, seed=run, loss=loss, accuracy=accuracy))
        return rows

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        accuracy = {name: pick(rows, "accuracy", optimizer=name) for name in RATES}
        losses = {name: float(pick(rows, "loss", optimizer=name).mean()) for name in RATES}
        best = max(PLAIN, key=lambda name: accuracy[name].mean())
        fits = all(losses[name] <= losses[best] + 0.05 for name in ADAPTIVE)
        worse = [name for name in ADAPTIVE if clearly_above(accuracy[best], accuracy[name])]
        return Verdict(
            fits and len(worse) == len(ADAPTIVE),
            f"on the test images {', '.join(f'{name} {percent(accuracy[name])}' for name in RATES)}; {best} was "
            f"clearly more accurate than {', '.join(worse) or 'none of the adaptive ones'}, at training losses of "
            f"{min(losses.values()):.2g} to {max(losses.values()):.2g}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        axes = figure.subplots(1, 2)
        columns = {"accuracy": "accuracy on the test images", "loss": "loss on the training images"}
        draw_dots(axes, rows, "optimizer", columns)
        axes[1].set(yscale="log")
