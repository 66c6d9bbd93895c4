"""The vanishing gradient: why deep networks of sigmoids don't learn, and those of ReLU, GELU and SiLU do."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnn import models
from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_curves, levels, percent, pick
from fcnn.studies.training import Trainer

ACTIVATIONS = ("sigmoid", "relu", "gelu", "silu")
VANISHED, KEPT = 1e-3, 1e-2
"""A gradient that on its way back becomes smaller than this share has vanished, one that stays above that has not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VanishingGradient(Study):
    """Perceptrons of equal width and growing depth, each activation with the initialization that suits it: `ratio` of
    the gradient's root mean square in the second layer's kernel to that in the last hidden one, at first (the first
    layer's inputs are pixels, with a scale of their own), and the accuracy on the test images after training."""

    claim = "the gradient vanishes with depth under sigmoid, whose slope is 1/4 at most, and not under ReLU, GELU, SiLU"
    paper = (
        "Hochreiter 1991, Untersuchungen zu dynamischen neuronalen Netzen, section 4; Glorot & Bengio 2010, section 4; "
        "Glorot, Bordes & Bengio 2011, Deep sparse rectifier neural networks, section 3.1"
    )
    criterion = (
        f"in the deepest network, the ratio of early-layer to last-layer gradients is below {VANISHED:g} with sigmoid "
        f"and above {KEPT:g} with the others, which are all clearly more accurate (by two standard errors)"
    )
    keys = ("activation", "depth")

    depths: tuple[int, ...] = (2, 6, 12)
    width: int = 64
    rate: float = 0.01
    steps: int = 400
    batch_size: int = 64

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        cases = [(act, depth) for act in ACTIVATIONS for depth in self.depths]
        optim, rows = OptimConfig(learning_rate=self.rate, schedule="constant"), []
        for act, depth in progress(cases, "networks", len(cases)):
            hidden = (self.width,) * depth
            model = models.create("mlp", num_classes=len(data.classes), hidden=hidden, activation=act)
            trainer = Trainer(data, model, optim, self.steps, self.batch_size)
            for run in self.runs(seed):
                norms = trainer.gradients(trainer.start(run))
                ratio, (state, _) = norms["hidden2"] / norms[f"hidden{depth}"], trainer.train(run)
                accuracy = trainer.score(state, data.test).accuracy
                rows.append(dict(activation=act, depth=depth, seed=run, ratio=ratio, accuracy=accuracy))
        return rows

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        depth = max(levels(rows, "depth"))
        ratios = {act: float(np.median(pick(rows, "ratio", activation=act, depth=depth))) for act in ACTIVATIONS}
        accuracy = {act: pick(rows, "accuracy", activation=act, depth=depth) for act in ACTIVATIONS}
        held = ratios["sigmoid"] < VANISHED and all(
            ratios[act] > KEPT and clearly_above(accuracy[act], accuracy["sigmoid"]) for act in ACTIVATIONS[1:]
        )
        results = ", ".join(f"{ratios[act]:.2g} and {percent(accuracy[act])} with {act}" for act in ACTIVATIONS)
        return Verdict(
            held,
            f"with {depth} hidden layers, the ratio of early-layer to last-layer gradients and the accuracy after "
            f"training were {results}",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        left, right = axes = figure.subplots(1, 2)
        columns = {"ratio": "early gradient / late gradient, at first", "accuracy": "accuracy on the test images"}
        draw_curves(axes, rows, "depth", columns, "activation")
        left.axhspan(left.get_ylim()[0], VANISHED, color="tab:red", alpha=0.08)
        left.set(yscale="log", xlabel="hidden layers")
        right.set(ylim=(0, 1.02), xlabel="hidden layers")
