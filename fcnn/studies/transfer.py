"""Transfer: what weights that were trained on other images are worth, by the number of images and by time."""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from fcnn.config import Config, ModelConfig, OptimConfig, TrainConfig, TransferConfig
from fcnn.data import Dataset, evenly_spaced
from fcnn.data.parallel import Progress
from fcnn.data.pipeline import EpochSampler
from fcnn.distributed.sharding import make_mesh
from fcnn.models import from_config
from fcnn.studies.study import Row, Study, Verdict, clearly_above, draw_curves, levels, percent, pick, select
from fcnn.studies.training import EVALUATED, Trainer, fewer, pick_batch
from fcnn.training.evaluate import compile_evaluation
from fcnn.training.features import on_features
from fcnn.training.pretrained import load_network
from fcnn.training.setup import make_setup
from fcnn.training.start import start_state
from fcnn.weights import Network, NetworkInfo, write_network

Strategy = Literal["head", "last_block", "full", "mean_var", "scratch"]
STRATEGIES: tuple[Strategy, ...] = ("head", "last_block", "full", "mean_var", "scratch")
"""As `--transfer.strategy`."""
NETWORK = ModelConfig(name="shallow_cnn", width_multiplier=0.5)
"""What is trained on the other classes where no weights are given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer(Study):
    """Every strategy gets the same images, as many steps and its own best rate, on the validation images after all
    steps. Without weights, a network learns the first half of the classes, and its weights are transferred to the other
    half.

    `seed` is that of the images that were chosen, their order, and what is drawn; `seconds` are those of the steps:
    compiling and, for head, the features of all images come before.
    """

    claim = (
        "with few images, pretrained weights train faster and reach a higher accuracy than random ones of the same "
        "mean and variance"
    )
    paper = (
        "Yosinski et al. 2014, How transferable are features, arXiv:1411.1792, section 4; Raghu et al. 2019, "
        "Transfusion, arXiv:1902.07208, sections 3 and 5.1 (better: doubted; faster: confirmed)"
    )
    criterion = (
        "with the fewest images full is clearly more accurate than mean_var and scratch (by two standard errors), "
        "after a quarter of the steps as well as after all"
    )
    keys = ("strategy", "images", "rate", "steps")

    weights: str | None = None
    """A trained network: a run's folder, or a file of `fcnn convert` or `fcnn export`."""
    images: tuple[int, ...] = (20, 60, 200)
    steps: int = 120
    batch_size: int = 20
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            weights = self.weights
            if weights is None:
                source, data = halves(data)
                weights = str(self._pretrain(source, seed, Path(folder)))
            info = load_network(weights, head=False).info
            data = data.normalized_by(info.mean, info.std)
            data = dataclasses.replace(data, test=data.test.take(evenly_spaced(len(data.test), EVALUATED)))
            rows = []
            for strategy in progress(STRATEGIES, "strategies", len(STRATEGIES)):
                rows += self._learn(data, seed, strategy, info.model, weights)
            return rows

    def _pretrain(self, data: Dataset, seed: int, folder: Path) -> Path:
        """The file of a network that has learned this data set."""
        model = from_config(NETWORK, num_classes=len(data.classes))
        optim = OptimConfig(name="adam", learning_rate=self.rates[0])
        state, _ = Trainer(data, model, optim, 2 * self.steps, self.batch_size).train(seed)
        mean, std = (tuple(values.tolist()) for values in data.mean_std())
        shape = data.image_shape
        info = NetworkInfo(model=NETWORK, classes=data.classes, image_shape=shape, mean=mean, std=std)
        write_network(folder / "source.safetensors", Network(info=info, variables=jax.device_get(state.variables)))
        return folder / "source.safetensors"

    def _learn(self, data: Dataset, seed: int, strategy: Strategy, model: ModelConfig, weights: str) -> list[Row]:
        """All runs of one strategy at its best rate, by the number of images."""
        tried = [row for rate in self.rates for row in self._at_rate(data, seed, strategy, rate, model, weights)]
        rows = []
        for images in self.images:
            at_the_end = {r: pick(tried, "validation", images=images, rate=r, steps=self.steps) for r in self.rates}
            best = max(self.rates, key=lambda rate: at_the_end[rate].mean())
            rows += select(tried, images=images, rate=best)
        return rows

    def _at_rate(
        self, data: Dataset, seed: int, strategy: Strategy, rate: float, model: ModelConfig, weights: str
    ) -> list[Row]:
        """All runs of one strategy and rate, by one compiled step."""
        config = Config(
            model=model,
            optim=OptimConfig(name="adam", learning_rate=rate),
            train=TrainConfig(steps=self.steps, batch_size=self.batch_size),
            transfer=TransferConfig(weights=weights, strategy=strategy),
        )
        setup = make_setup(config, data, make_mesh())

        @functools.cache
        def start(run: int) -> Any:
            own = dataclasses.replace(setup, config=dataclasses.replace(config, seed=run))
            return start_state(own, lambda _: None)

        feature_setup = on_features(setup, start(0).variables)
        update, normalize = feature_setup.train_step(), feature_setup.normalize()
        step = jax.jit(lambda state, batch: update(state, normalize(batch))[0])
        validate, evaluate = (compile_evaluation(setup, start(0).variables, s) for s in (data.validation, data.test))
        rows = []
        for images in self.images:
            for run in self.runs(seed):
                state, train, seconds = start(run), fewer(feature_setup.dataset, images, seed=run).train, 0.0
                order = EpochSampler(len(train), self.batch_size, run)
                jax.block_until_ready(step(state, pick_batch(train, order.at(0)[1])))  # compiles
                for number in range(1, self.steps + 1):
                    batch, began = pick_batch(train, order.at(number - 1)[1]), time.perf_counter()
                    state = jax.block_until_ready(step(state, batch))
                    seconds += time.perf_counter() - began
                    if number in self.measured_steps():
                        keys = dict(strategy=strategy, images=images, rate=rate, steps=number, seed=run)
                        validation, accuracy = (top1(state.variables)["top1"] for top1 in (validate, evaluate))
                        rows.append(dict(**keys, validation=validation, accuracy=accuracy, seconds=seconds))
        return rows

    def measured_steps(self) -> list[int]:
        """The steps after which the accuracy is measured: a quarter of them, half, all."""
        return sorted({max(self.steps // 4, 1), max(self.steps // 2, 1), self.steps})

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        few, steps = min(levels(rows, "images")), levels(rows, "steps")
        first, last = min(steps), max(steps)
        early, late = (
            {name: pick(rows, "accuracy", strategy=name, images=few, steps=steps) for name in STRATEGIES}
            for steps in (first, last)
        )
        held = all(
            clearly_above(accuracy["full"], accuracy[name])
            for accuracy in (early, late)
            for name in ("mean_var", "scratch")
        )
        results = ", ".join(f"{percent(early[name])} and {percent(late[name])} with {name}" for name in STRATEGIES)
        return Verdict(held, f"with {few} images the accuracy after {first} and after {last} steps was {results}")

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        last, few, counts = max(levels(rows, "steps")), min(levels(rows, "images")), levels(rows, "images")
        columns = {"accuracy": "accuracy on the test images"}
        draw_curves(left, select(rows, steps=last), "images", columns, "strategy")
        left.set(xscale="log", xlabel="training images")
        left.set_xticks(counts, map(str, counts))
        left.set_xticks([], minor=True)
        for name in STRATEGIES:
            part = select(rows, strategy=name, images=few)
            points = (
                [pick(part, column, steps=steps).mean() for steps in sorted(levels(part, "steps"))]
                for column in ("seconds", "accuracy")
            )
            right.plot(*points, marker="o", markersize=4, label=name)
        right.set(xlabel=f"seconds of training, {few} images", xscale="log")
        right.tick_params(axis="x", which="minor", labelbottom=False)
        right.grid(alpha=0.3)
        right.legend(fontsize=8)

    def table_rows(self, rows: Sequence[Row]) -> list[Row]:
        return select(rows, steps=max(levels(rows, "steps")))


def halves(data: Dataset) -> tuple[Dataset, Dataset]:
    """The data set as two: the first half of its classes, and the others, numbered from 0 again."""
    middle = len(data.classes) // 2

    def part(first: int, last: int) -> Dataset:
        splits = {}
        for name in ("train", "validation", "test"):
            split = getattr(data, name)
            split = split.take(np.flatnonzero((split.labels >= first) & (split.labels < last)))
            splits[name] = dataclasses.replace(split, labels=split.labels - np.int32(first))
        return dataclasses.replace(data, classes=data.classes[first:last], **splits)

    return part(0, middle), part(middle, len(data.classes))
