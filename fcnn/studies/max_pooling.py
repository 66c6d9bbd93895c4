"""Max pooling and small translations: what changes in a network when the image moves by a pixel or two."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np

from fcnn.config import OptimConfig
from fcnn.data import AnySplit, Dataset, Split
from fcnn.data.parallel import Progress
from fcnn.models.classifier import Classifier, EndpointFn, flatten
from fcnn.nn import avg_pool, max_pool
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_curves, levels, mean_and_std, percent, pick
from fcnn.studies.training import Trainer, normalized

Pool = Literal["max", "average", "every second"]
POOLS: tuple[Pool, ...] = ("max", "average", "every second")


class PooledCNN(Classifier, kw_only=True):
    """Two convolutions, each followed by a halving of the image; a classifier that sees every position."""

    pool: Pool
    """How it is halved: the largest of 2 x 2, their mean, or the first of them."""

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        for i, channels in enumerate((16, 32), start=1):
            x = self.conv_norm_act(train)(channels, 3, padding=1, name=f"conv{i}")(x)
            if self.pool == "every second":
                x = x[:, ::2, ::2]
            else:
                x = max_pool(x, 2) if self.pool == "max" else avg_pool(x, 2)
            x = endpoint(f"stage{i}", x)
        return self.head(name="head")(flatten(x))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxPooling(Study):
    """Networks that have seen unmoved images alone; all images get a margin, so that nothing leaves them. `shift` is in
    pixels to the right, `change` the mean of ||features of the moved image - of the image|| / ||of the image|| behind
    the second halving."""

    claim = "max pooling makes a network less sensitive to small translations"
    paper = (
        "Goodfellow, Bengio & Courville 2016, Deep Learning, section 9.3; doubted by Zhang 2019, arXiv:1904.11486, "
        "section 3"
    )
    criterion = (
        "moved by one pixel, the features change clearly less and the accuracy is clearly higher (by two standard "
        "errors) with max pooling than with strided subsampling"
    )
    keys = ("pool", "shift")

    shifts: tuple[int, ...] = (0, 1, 2, 3)
    rate: float = 0.003
    steps: int = 150
    batch_size: int = 64

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        margin = max(self.shifts) + 1
        train, test = (moved(split, 0, margin) for split in (data.train, data.test))
        data = dataclasses.replace(data, train=train)
        images = {shift: moved(data.test, shift, margin) for shift in self.shifts}
        rows = []
        for pool in progress(POOLS, "networks", len(POOLS)):
            model = PooledCNN(num_classes=len(data.classes), norm="none", pool=pool)
            optim = OptimConfig(name="adam", learning_rate=self.rate)
            trainer = Trainer(data, model, optim, self.steps, self.batch_size)
            for run in self.runs(seed):
                state, _ = trainer.train(run)
                still = features(trainer, state.variables, test)
                for shift, split in images.items():
                    difference = features(trainer, state.variables, split) - still
                    change = np.linalg.norm(difference, axis=1) / np.linalg.norm(still, axis=1)
                    scores = dict(change=float(change.mean()), accuracy=trainer.score(state, split).accuracy)
                    rows.append(dict(pool=pool, shift=shift, seed=run, **scores))
        return rows

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        changes, accuracies = (
            {pool: pick(rows, column, pool=pool, shift=1) for pool in POOLS} for column in ("change", "accuracy")
        )
        held = clearly_above(changes["every second"], changes["max"])
        held = held and clearly_above(accuracies["max"], accuracies["every second"])
        names = {"max": "max pooling", "average": "average pooling", "every second": "strided subsampling"}
        results = ", ".join(
            f"{mean_and_std(changes[pool], '.2f')} of their size with {name} (accuracy {percent(accuracies[pool])})"
            for pool, name in names.items()
        )
        return Verdict(held, f"moved by one pixel, the features changed by {results}")

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        axes = figure.subplots(1, 2)
        columns = {"change": "change of the features, relative", "accuracy": "accuracy on the moved test images"}
        draw_curves(axes, rows, "shift", columns, "pool")
        for axis in axes:
            axis.set(xlabel="pixels to the right", xticks=levels(rows, "shift"))
        axes[1].set(ylim=(0, 1.02))


def moved(split: AnySplit, shift: int, margin: int) -> Split:
    """The images with a black margin of so many pixels on every side, moved to the right."""
    images = np.pad(split.read(np.arange(len(split))), ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return Split(np.roll(images, shift, axis=2), split.labels)


def features(trainer: Trainer, variables: Any, split: Split) -> np.ndarray:
    """What the second halving gives for each image, (N, features)."""
    images, _ = normalized(trainer.data, split)
    _, endpoints = trainer.model.apply(variables, images, train=False, features=("stage2",))
    return np.asarray(endpoints["stage2"]).reshape(len(split), -1)
