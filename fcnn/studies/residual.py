"""Residual connections: deeper plain networks train worse than shallow ones, residual networks don't."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.models.cifar_resnet import CifarResNet
from fcnn.studies.study import Study, Verdict, clearly_above, curve, levels, pick, spread
from fcnn.studies.training import Trainer

SHORTCUTS: dict[str, Literal["none", "A"]] = {"plain": "none", "residual": "A"}


class Row(NamedTuple):
    """One trained network."""

    network: str
    layers: int
    seed: int
    loss: float
    """On the training images in the last quarter of the steps, in the mean."""
    accuracy: float
    """On the test images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Residual(Study):
    """The paper's plain and residual networks for small images, both with batch norm and as many parameters."""

    claim = "deeper plain networks have a higher training error than shallow ones, and residual networks have not"
    paper = "He et al. 2015, arXiv:1512.03385, sections 1 (figure 1) and 4.2 (figure 6)"
    criterion = (
        "the deepest plain network's training loss is clearly above the shallowest's (by two standard errors), the "
        "deepest residual network's is not, and is clearly below the plain one's of the same depth"
    )
    keys = ("network", "layers")

    blocks: tuple[int, ...] = (1, 2, 4)
    """Blocks of two layers in each of the three stages: 8, 14 and 26 layers."""
    rate: float = 0.05
    steps: int = 60
    batch_size: int = 16

    def measure(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        cases = [(name, blocks) for blocks in self.blocks for name in SHORTCUTS]
        rows = []
        for name, blocks in progress(cases, "networks", len(cases)):
            model = CifarResNet(num_classes=len(data.classes), stage_sizes=(blocks,) * 3, shortcut=SHORTCUTS[name])
            optim = OptimConfig(learning_rate=self.rate)
            trainer = Trainer(data, model, optim, steps=self.steps, batch_size=self.batch_size)
            for run in self.runs(seed):
                state, losses = trainer.train(run)
                loss = float(losses[-max(self.steps // 4, 1) :].mean())
                rows.append(Row(name, 6 * blocks + 2, run, loss, trainer.score(state, data.test).accuracy))
        return rows

    def judge(self, rows: Sequence[Row]) -> Verdict:
        shallow, *_, deep = levels(rows, "layers")
        plain, residual = ([pick(rows, "loss", network=n, layers=k) for k in (shallow, deep)] for n in SHORTCUTS)
        held = clearly_above(plain[1], plain[0]) and not clearly_above(residual[1], residual[0])
        held = held and clearly_above(plain[1], residual[1])
        return Verdict(
            held,
            f"from {shallow} to {deep} layers the training loss went from {spread(plain[0])} to {spread(plain[1])} in "
            f"plain networks, from {spread(residual[0])} to {spread(residual[1])} in residual ones",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for name in SHORTCUTS:
            curve(left, rows, "layers", "loss", label=name, network=name)
            curve(right, rows, "layers", "accuracy", label=name, network=name)
        left.set(xlabel="layers", ylabel="training loss, end of the run", yscale="log")
        right.set(xlabel="layers", ylabel="accuracy on the test images")
        for axis in (left, right):
            axis.set_xticks(levels(rows, "layers"))
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
