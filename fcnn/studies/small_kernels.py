"""Small kernels: three 3 x 3 convolutions see as far as one 7 x 7, for half the price."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.models.classifier import Classifier
from fcnn.models.summary import Row as Layer
from fcnn.models.summary import summarize
from fcnn.studies.networks import ConvStack
from fcnn.studies.study import Study, Verdict, clearly_above, dots, percent, pick
from fcnn.studies.training import Trainer

# Kernel and how many of them, behind the same first convolution of 3 x 3.
KINDS = {"three 3x3": (3, 3), "one 7x7": (7, 1)}


class Row(NamedTuple):
    """One trained network."""

    kind: str
    seed: int
    field: int
    """Receptive field of what is compared alone: height and width."""
    parameters: int
    """Of what is compared alone."""
    multiply_adds: int
    """Likewise, for one image."""
    accuracy: float
    """Of the network on the test images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallKernels(Study):
    """Two networks that differ in nothing else; batch norm and ReLU behind each convolution."""

    claim = "three 3 x 3 convolutions see what one 7 x 7 sees, with fewer parameters, less work and no loss of accuracy"
    paper = "Simonyan & Zisserman 2014, arXiv:1409.1556, section 2.3"
    criterion = (
        "the receptive fields are equal, parameters and multiply-adds are lower with three 3 x 3, and its test "
        "accuracy is not clearly lower (by two standard errors)"
    )
    keys = ("kind", "field", "parameters", "multiply_adds")

    channels: int = 16
    rate: float = 0.1
    steps: int = 150
    batch_size: int = 64

    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        rows = []
        for kind, (kernel, count) in progress(KINDS.items(), "networks", len(KINDS)):
            model = ConvStack(
                num_classes=len(data.classes), norm="batch", channels=self.channels, kernel=kernel, depth=1 + count
            )
            facts = compared(model, data.image_shape)
            optim = OptimConfig(learning_rate=self.rate)
            trainer = Trainer(data, model, optim, steps=self.steps, batch_size=self.batch_size)
            for run in self.runs(seed):
                state, _ = trainer.train(run)
                rows.append(Row(kind, run, *facts, trainer.score(state, data.test).accuracy))
        return rows

    def judge(self, rows: Sequence[Row]) -> Verdict:
        small, large = ([row for row in rows if row.kind == kind] for kind in KINDS)
        accuracies = [pick(part, "accuracy") for part in (small, large)]
        held = small[0].field == large[0].field
        held = held and small[0].parameters < large[0].parameters
        held = held and small[0].multiply_adds < large[0].multiply_adds
        held = held and not clearly_above(accuracies[1], accuracies[0])
        return Verdict(
            held,
            f"three 3 x 3 see {small[0].field} x {small[0].field} pixels with {small[0].parameters:,} parameters and "
            f"{small[0].multiply_adds:,} multiply-adds an image, one 7 x 7 sees {large[0].field} x {large[0].field} "
            f"with {large[0].parameters:,} and {large[0].multiply_adds:,}; the test accuracy was "
            f"{percent(accuracies[0])} against {percent(accuracies[1])}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        columns = ("parameters", "multiply_adds", "field", "accuracy")
        labels = ("parameters", "multiply-adds an image", "receptive field, pixels", "accuracy on the test images")
        for axis, column, label in zip(figure.subplots(1, 4), columns, labels, strict=True):
            if column == "accuracy":
                dots(axis, rows, "kind", column)
            else:
                values = {kind: pick(rows, column, kind=kind)[0] for kind in KINDS}
                axis.bar(list(values), list(values.values()), color="tab:blue", alpha=0.6)
            axis.set_title(label, fontsize=9)


def compared(model: Classifier, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(receptive field, parameters, multiply-adds) of a network's convolutions behind the first, without norms."""
    layers: list[Layer] = [row for row in summarize(model, image_shape) if row.type == "Conv"]
    first, *others = layers
    last = others[-1]
    assert last.field is not None
    assert first.field is not None
    field = last.field[0] - first.field[0] + 1
    return field, sum(row.parameters for row in others), sum(row.multiply_adds for row in others)
