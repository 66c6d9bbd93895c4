"""Regularization: what L1, L2, dropout and augmentation do to a network that overfits."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from fcnn import models
from fcnn.config import AugmentConfig, OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_dots, percent, pick
from fcnn.studies.training import Trainer, fewer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularizer:
    """What is done against overfitting."""

    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0
    shift: int = 0
    """Pixels by which augmentation moves an image at most."""


REGULARIZERS = {
    "nothing": Regularizer(),
    "L1": Regularizer(l1=3e-4),
    "L2": Regularizer(l2=1e-2),
    "dropout": Regularizer(dropout=0.5),
    "augmentation": Regularizer(shift=1),
}
"""L1 and L2 as factors in the loss, dropout before the classifier, random shifts by a pixel."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularization(Study):
    """A CNN with a hundred times as many weights as training images: the accuracy on these (`train`) and on the test
    images, and the `gap`, loss on the test images less that on the training images."""

    claim = "L1, L2, dropout and augmentation each narrow the gap between training and test and improve the test"
    paper = (
        "Goodfellow, Bengio & Courville 2016, Deep Learning, sections 7.1 and 7.4; Srivastava et al. 2014, Dropout, "
        "section 6"
    )
    criterion = (
        "without regularization the network fits the training images (99 % or more), and with each of the four the gap "
        "of the losses is clearly narrower and the test accuracy clearly higher (by two standard errors)"
    )
    keys = ("regularizer",)

    seeds: int = 5
    images: int = 100
    steps: int = 300
    batch_size: int = 20
    rate: float = 0.02

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        data, rows = fewer(data, self.images), []
        for name, chosen in progress(REGULARIZERS.items(), "networks", len(REGULARIZERS)):
            options = {"num_classes": len(data.classes), "width_multiplier": 0.5, "dropout": chosen.dropout}
            optim = OptimConfig(learning_rate=self.rate, l1=chosen.l1, l2=chosen.l2)
            augmentation = AugmentConfig(crop_padding=chosen.shift)
            model = models.create("shallow_cnn", **options)
            trainer = Trainer(data, model, optim, self.steps, self.batch_size, augmentation)
            for run in self.runs(seed):
                state, _ = trainer.train(run)
                train, test = trainer.score(state, data.train), trainer.score(state, data.test)
                scores = dict(train=train.accuracy, accuracy=test.accuracy, gap=test.loss - train.loss)
                rows.append(dict(regularizer=name, seed=run, **scores))
        return rows

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        bare, *others = REGULARIZERS
        gap, accuracy = (
            {name: pick(rows, column, regularizer=name) for name in REGULARIZERS} for column in ("gap", "accuracy")
        )
        fits = pick(rows, "train", regularizer=bare).mean() >= 0.99
        narrower = [name for name in others if clearly_above(gap[bare], gap[name])]
        better = [name for name in others if clearly_above(accuracy[name], accuracy[bare])]
        results = ", ".join(f"{percent(accuracy[name])} with {name}" for name in others)
        return Verdict(
            bool(fits) and narrower == others and better == others,
            f"the test accuracy was {percent(accuracy[bare])} without regularization, {results}; the gap was clearly "
            f"narrower with {', '.join(narrower) or 'none'}, the accuracy clearly higher with "
            f"{', '.join(better) or 'none'}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        columns = {"accuracy": "accuracy on the test images", "gap": "test loss - training loss"}
        draw_dots(figure.subplots(1, 2), rows, "regularizer", columns)
