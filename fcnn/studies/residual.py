"""Residual connections: deeper plain networks train worse than shallow ones, residual networks don't."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from fcnn.config import OptimConfig
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.models.cifar_resnet import CifarResNet
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_curves, levels, mean_and_std, pick
from fcnn.studies.training import Trainer

SHORTCUTS: dict[str, Literal["none", "A"]] = {"plain": "none", "residual": "A"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Residual(Study):
    """The paper's plain and residual networks for small images, both with batch norm and as many parameters: the loss
    on the training images in the last quarter of the steps, and the accuracy on the test images."""

    claim = "deeper plain networks have a higher training error than shallow ones; residual networks don't"
    paper = "He et al. 2015, arXiv:1512.03385, sections 1 (figure 1) and 4.2 (figure 6)"
    criterion = (
        "the deepest plain network's training loss is clearly above the shallowest's (by two standard errors), the "
        "deepest residual network's is not, and is clearly below the plain one's of the same depth"
    )
    keys = ("network", "layers")

    num_blocks: tuple[int, ...] = (1, 2, 4)
    """Blocks of two layers in each of the three stages: 8, 14 and 26 layers."""
    rate: float = 0.05
    steps: int = 60
    batch_size: int = 16

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        cases = [(name, num_blocks) for num_blocks in self.num_blocks for name in SHORTCUTS]
        rows = []
        for name, num_blocks in progress(cases, "networks", len(cases)):
            model = CifarResNet(num_classes=len(data.classes), stage_sizes=(num_blocks,) * 3, shortcut=SHORTCUTS[name])
            trainer = Trainer(data, model, OptimConfig(learning_rate=self.rate), self.steps, self.batch_size)
            for run in self.runs(seed):
                state, losses = trainer.train(run)
                loss, accuracy = losses[-max(self.steps // 4, 1) :].mean(), trainer.score(state, data.test).accuracy
                rows.append(
                    dict(network=name, layers=6 * num_blocks + 2, seed=run, loss=float(loss), accuracy=accuracy)
                )
        return rows

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        shallow, *_, deep = levels(rows, "layers")
        plain, residual = ([pick(rows, "loss", network=n, layers=k) for k in (shallow, deep)] for n in SHORTCUTS)
        held = clearly_above(plain[1], plain[0]) and not clearly_above(residual[1], residual[0])
        return Verdict(
            held and clearly_above(plain[1], residual[1]),
            f"from {shallow} to {deep} layers the training loss went from {mean_and_std(plain[0])} to "
            f"{mean_and_std(plain[1])} in plain networks, from {mean_and_std(residual[0])} to "
            f"{mean_and_std(residual[1])} in residual ones",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        axes = figure.subplots(1, 2)
        columns = {"loss": "training loss, end of the run", "accuracy": "accuracy on the test images"}
        draw_curves(axes, rows, "layers", columns, "network")
        for axis in axes:
            axis.set(xlabel="layers", xticks=levels(rows, "layers"))
        axes[0].set(yscale="log")
