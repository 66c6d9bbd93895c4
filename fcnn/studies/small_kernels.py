"""Small kernels: three 3 x 3 convolutions have the receptive field of one 7 x 7, for half the parameters."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.models.classifier import Classifier
from fcnn.models.summary import summarize
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_dots, percent, pick
from fcnn.studies.training import ConvStack, Trainer

# Kernel and how many of them, behind the same first convolution of 3 x 3.
KINDS = {"three 3x3": (3, 3), "one 7x7": (7, 1)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallKernels(Study):
    """Two networks that differ in nothing else; batch norm and ReLU behind each convolution. The receptive field, the
    parameters and the multiply-adds for one image are those of what is compared alone, the accuracy is the network's on
    the test images."""

    claim = (
        "three 3 x 3 convolutions have the receptive field of one 7 x 7, with fewer parameters and operations and no "
        "accuracy loss"
    )
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

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        optim, rows = OptimConfig(learning_rate=self.rate), []
        for kind, (kernel, count) in progress(KINDS.items(), "networks", len(KINDS)):
            options = {"norm": "batch", "channels": self.channels, "kernel": kernel, "depth": 1 + count}
            model = ConvStack(num_classes=len(data.classes), **options)
            costs, trainer = compared(model, data.image_shape), Trainer(data, model, optim, self.steps, self.batch_size)
            for run in self.runs(seed):
                accuracy = trainer.score(trainer.train(run)[0], data.test).accuracy
                rows.append(dict(kind=kind, seed=run, **costs, accuracy=accuracy))
        return rows

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        small, large = (next(row for row in rows if row["kind"] == kind) for kind in KINDS)
        accuracies = [pick(rows, "accuracy", kind=kind) for kind in KINDS]
        cheaper = all(small[column] < large[column] for column in ("parameters", "multiply_adds"))
        return Verdict(
            small["field"] == large["field"] and cheaper and not clearly_above(accuracies[1], accuracies[0]),
            f"three 3 x 3 have a receptive field of {small['field']} x {small['field']} pixels with "
            f"{small['parameters']:,} parameters and {small['multiply_adds']:,} multiply-adds per image, one 7 x 7 has "
            f"{large['field']} x {large['field']} with {large['parameters']:,} and {large['multiply_adds']:,}; the "
            f"test accuracy was {percent(accuracies[0])} and {percent(accuracies[1])}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        *axes, last = figure.subplots(1, 4)
        labels = {"parameters": "parameters", "multiply_adds": "multiply-adds an image"}
        labels["field"] = "receptive field, pixels"
        for axis, (column, label) in zip(axes, labels.items(), strict=True):
            axis.bar(list(KINDS), [pick(rows, column, kind=kind)[0] for kind in KINDS], color="tab:blue", alpha=0.6)
            axis.set_title(label, fontsize=9)
        draw_dots([last], rows, "kind", {"accuracy": ""})
        last.set_title("accuracy on the test images", fontsize=9)


def compared(model: Classifier, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """The receptive field, parameters and multiply-adds of a network's convolutions behind the first, without norms."""
    first, *others = (row for row in summarize(model, image_shape) if row.type == "Conv")
    assert others[-1].field is not None
    assert first.field is not None
    return {
        "field": others[-1].field[0] - first.field[0] + 1,
        "parameters": sum(row.parameters for row in others),
        "multiply_adds": sum(row.multiply_adds for row in others),
    }
