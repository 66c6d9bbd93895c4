"""Regularization: what L1, L2, dropout and augmentation do to a network that overfits."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from fcnn import models
from fcnn.config import AugmentConfig, OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.study import Study, Verdict, clearly_above, dots, percent, pick
from fcnn.studies.training import Trainer, fewer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remedy:
    """What is done about overfitting."""

    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0
    shift: int = 0
    """Pixels by which augmentation moves an image at most."""


REMEDIES = {
    "nothing": Remedy(),
    "L1": Remedy(l1=3e-4),
    "L2": Remedy(l2=1e-2),
    "dropout": Remedy(dropout=0.5),
    "augmentation": Remedy(shift=1),
}
"""L1 and L2 as factors in the loss, dropout before the classifier, random shifts by a pixel."""


class Row(NamedTuple):
    """One trained network."""

    hint: str
    seed: int
    train: float
    """Accuracy on the training images."""
    accuracy: float
    """On the test images."""
    gap: float
    """Loss on the test images less that on the training images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularization(Study):
    """A CNN with a hundred times as many weights as training images."""

    claim = "L1, L2, dropout and augmentation each narrow the gap between training and test and improve the test"
    paper = (
        "Goodfellow, Bengio & Courville 2016, Deep Learning, sections 7.1 and 7.4; Srivastava et al. 2014, Dropout, "
        "section 6"
    )
    criterion = (
        "without a remedy the network fits the training images (99 % or more), and with each of the four the gap of "
        "the losses is clearly narrower and the test accuracy clearly higher (by two standard errors)"
    )
    keys = ("remedy",)

    seeds: int = 5
    images: int = 100
    steps: int = 300
    batch_size: int = 20
    rate: float = 0.02

    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        data = fewer(data, self.images)
        rows = []
        for name, hint in progress(REMEDIES.items(), "networks", len(REMEDIES)):
            model = models.create(
                "shallow_cnn", num_classes=len(data.classes), width_multiplier=0.5, dropout=hint.dropout
            )
            optim = OptimConfig(learning_rate=self.rate, l1=hint.l1, l2=hint.l2)
            trainer = Trainer(
                data, model, optim, steps=self.steps, batch_size=self.batch_size,
                augmentation=AugmentConfig(crop_padding=hint.shift),
            )  # fmt: skip
            for run in self.runs(seed):
                state, _ = trainer.train(run)
                train, test = trainer.score(state, data.train), trainer.score(state, data.test)
                rows.append(Row(name, run, train.accuracy, test.accuracy, test.loss - train.loss))
        return rows

    def judge(self, rows: Sequence[Row]) -> Verdict:
        bare, *others = REMEDIES
        gap, accuracy = (pick(rows, column, hint=bare) for column in ("gap", "accuracy"))
        fits = pick(rows, "train", hint=bare).mean() >= 0.99
        narrower = [name for name in others if clearly_above(gap, pick(rows, "gap", hint=name))]
        better = [name for name in others if clearly_above(pick(rows, "accuracy", hint=name), accuracy)]
        told = ", ".join(f"{percent(pick(rows, 'accuracy', hint=name))} with {name}" for name in others)
        return Verdict(
            bool(fits) and narrower == others and better == others,
            f"the test accuracy was {percent(accuracy)} without a remedy, {told}; the gap was clearly narrower with "
            f"{', '.join(narrower) or 'none'}, the accuracy clearly higher with {', '.join(better) or 'none'}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        dots(left, rows, "remedy", "accuracy")
        dots(right, rows, "remedy", "gap")
        left.set(ylabel="accuracy on the test images")
        right.set(ylabel="test loss - training loss")
