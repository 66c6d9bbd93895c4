"""Small batches: what batch norm loses with them, and group and layer norm don't."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.networks import ConvStack
from fcnn.studies.study import Study, Verdict, clearly_above, curve, levels, percent, pick
from fcnn.studies.training import Trainer, fewer

NORMS: tuple[Literal["batch", "group", "layer"], ...] = ("batch", "group", "layer")


class Row(NamedTuple):
    """One trained network."""

    norm: str
    batch: int
    """Images a step."""
    seed: int
    accuracy: float
    """On the test images."""
    gap: float
    """|loss in evaluation - loss in training mode| on the training images, after the last step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSize(Study):
    """The same images seen by batches of different size, at a rate in proportion to it."""

    claim = "with small batches batch norm loses accuracy and opens a gap between training and evaluation; others don't"
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

    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        data = fewer(data, self.images)
        cases = [(norm, batch) for norm in NORMS for batch in self.batches]
        rows = []
        for norm, batch in progress(cases, "networks", len(cases)):
            model = ConvStack(num_classes=len(data.classes), norm=norm, depth=4)
            optim = OptimConfig(learning_rate=self.rate * batch / 32)
            trainer = Trainer(data, model, optim, steps=self.epochs * len(data.train) // batch, batch_size=batch)
            for run in self.runs(seed):
                state, _ = trainer.train(run)
                train, evaluation = (trainer.score(state, data.train, train=mode).loss for mode in (True, False))
                accuracy = trainer.score(state, data.test).accuracy
                rows.append(Row(norm, batch, run, accuracy, abs(evaluation - train)))
        return rows

    def judge(self, rows: Sequence[Row]) -> Verdict:
        small, large = min(levels(rows, "batch")), max(levels(rows, "batch"))
        found = {norm: pick(rows, "accuracy", norm=norm, batch=small) for norm in NORMS}
        gaps = {norm: pick(rows, "gap", norm=norm, batch=small) for norm in NORMS}
        best = pick(rows, "accuracy", norm="batch", batch=large)
        held = clearly_above(best, found["batch"]) and all(
            clearly_above(found[norm], found["batch"]) and clearly_above(gaps["batch"], gaps[norm])
            for norm in NORMS[1:]
        )
        told = ", ".join(f"{percent(found[norm])} with {norm} norm (gap {gaps[norm].mean():.2g})" for norm in NORMS)
        return Verdict(
            held, f"in batches of {small} the accuracy was {told}; batch norm in batches of {large} had {percent(best)}"
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for norm in NORMS:
            curve(left, rows, "batch", "accuracy", label=f"{norm} norm", norm=norm)
            curve(right, rows, "batch", "gap", label=f"{norm} norm", norm=norm)
        left.set(ylabel="accuracy on the test images")
        right.set(ylabel="|loss in evaluation - loss in training mode|")
        for axis in (left, right):
            axis.set(xscale="log", xlabel="images a step")
            axis.set_xticks(levels(rows, "batch"), [str(batch) for batch in levels(rows, "batch")], minor=False)
            axis.set_xticks([], minor=True)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
