"""Random against grid search: which finds the better hyperparameters with equally many trials."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcnn import models
from fcnn.data import Dataset
from fcnn.data.parallel import Progress
from fcnn.studies.study import Row, Study, Verdict, clearly_above, levels, mean_and_std, pick, select
from fcnn.studies.training import normalized
from fcnn.training.metrics import cross_entropy

# Each hyperparameter's range, from which both searches take their values, evenly on a logarithmic scale.
SPACE = {"rate": (1e-4, 10.0), "l2": (1e-6, 1e-1), "l1": (1e-7, 1e-2)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomSearch(Study):
    """Three hyperparameters of a perceptron, of which one matters more than the others; all trials of a search are
    trained at the same time, as one program. `loss` is that on the validation images; guessing has ln(10) = 2.303,
    which is also what a trial that diverged gets."""

    claim = "random search finds better hyperparameters than grid search with equally many trials"
    paper = "Bergstra & Bengio 2012, Random search for hyper-parameter optimization, JMLR 13, sections 1 and 2"
    criterion = (
        "the best validation loss of a random search is clearly below that of a grid search (by two standard errors "
        "over the repetitions)"
    )
    keys = ("search",)

    seeds: int = 10
    values: int = 3
    """Of each hyperparameter on the grid: its cube is the number of trials."""
    steps: int = 100
    batch_size: int = 64

    def run(self, data: Dataset, seed: int, progress: Progress) -> list[Row]:
        trials = self.values ** len(SPACE)
        train = jax.jit(jax.vmap(self._trial(data), in_axes=(0, None)))
        rows = []
        for run in progress(self.runs(seed), "searches", self.seeds):
            rng = np.random.default_rng(run)
            for search, places in (("grid", grid(self.values)), ("random", rng.random((trials, len(SPACE))))):
                points = dict(zip(SPACE, logarithmic(places).T, strict=True))
                losses = np.asarray(train(points, jax.random.key(run))).tolist()
                for trial, loss in enumerate(losses):
                    point = {name: float(values[trial]) for name, values in points.items()}
                    rows.append(dict(search=search, seed=run, trial=trial, **point, loss=loss))
        return rows

    def _trial(self, data: Dataset) -> Any:
        """(hyperparameters, key) -> validation loss: a whole training run as a function."""
        model = models.create("mlp", num_classes=len(data.classes), hidden=(32,))
        images, labels = normalized(data, data.train)
        others, other_labels = normalized(data, data.validation)
        optimizer = optax.trace(0.9)

        def loss_fn(params: Any, chosen: jax.Array, point: dict[str, jax.Array]) -> jax.Array:
            logits: Any = model.apply({"params": params}, images[chosen], train=True)
            loss = cross_entropy(logits, labels[chosen]).mean()
            kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
            l1 = sum(jnp.abs(kernel).sum() for kernel in kernels)
            l2 = sum(jnp.square(kernel).sum() for kernel in kernels) / 2
            return loss + point["l1"] * l1 + point["l2"] * l2

        def trial(point: dict[str, jax.Array], key: jax.Array) -> jax.Array:
            params = model.init(key, images[:1], train=False)["params"]

            def step(state: tuple, key: jax.Array) -> tuple[tuple, None]:
                params, moments = state
                chosen = jax.random.randint(key, (self.batch_size,), 0, len(images))
                grads = jax.grad(loss_fn)(params, chosen, point)
                updates, moments = optimizer.update(grads, moments)
                params = jax.tree.map(lambda p, u: p - point["rate"] * u, params, updates)
                return (params, moments), None

            (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, self.steps))
            logits: Any = model.apply({"params": params}, others, train=False)
            loss = cross_entropy(logits, other_labels).mean()
            guess = jnp.log(float(len(data.classes)))
            return jnp.where(jnp.isfinite(loss), jnp.minimum(loss, guess), guess)

        return trial

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        best = {search: best_losses(rows, search) for search in ("random", "grid")}
        trials = max(pick(rows, "trial")) + 1
        return Verdict(
            clearly_above(best["grid"], best["random"]),
            f"with {trials} trials the best validation loss was {mean_and_std(best['random'])} by random search and "
            f"{mean_and_std(best['grid'])} by grid search, over {len(best['grid'])} repetitions",
        )

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for search, marker in (("grid", "s"), ("random", "o")):
            part = select(rows, search=search)
            left.plot(pick(part, "rate"), pick(part, "loss"), marker, markersize=3, alpha=0.4, label=search)
            curves = [np.minimum.accumulate(pick(part, "loss", seed=seed)) for seed in levels(part, "seed")]
            if search == "random":
                right.plot(np.arange(1, len(curves[0]) + 1), np.mean(curves, axis=0), color="tab:orange", label=search)
            else:
                right.axhline(np.mean([losses[-1] for losses in curves]), color="tab:blue", label="the whole grid")
        left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="validation loss")
        right.set(xlabel="trials", ylabel="best validation loss so far, in the mean", yscale="log")
        for axis in (left, right):
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)

    def table_rows(self, rows: Sequence[Row]) -> list[Row]:
        """The best trial of each search."""
        return [
            dict(search=search, seed=seed, loss=loss)
            for search in levels(rows, "search")
            for seed, loss in zip(levels(rows, "seed"), best_losses(rows, search).tolist(), strict=True)
        ]


def best_losses(rows: Sequence[Row], search: str) -> np.ndarray:
    """The best validation loss of each repetition of a search, (seeds,)."""
    seeds = levels(select(rows, search=search), "seed")
    return np.asarray([pick(rows, "loss", search=search, seed=seed).min() for seed in seeds])


def grid(values: int) -> np.ndarray:
    """The middles of so many equal parts of each side of the unit cube, (values ** 3, 3)."""
    side = (np.arange(values) + 0.5) / values
    return np.asarray(list(itertools.product(side, repeat=len(SPACE))))


def logarithmic(places: np.ndarray) -> np.ndarray:
    """Places in the unit cube as hyperparameters, (n, 3) both."""
    low, high = np.log(np.asarray(list(SPACE.values()))).T
    return np.exp(low + places * (high - low)).astype(np.float32)
