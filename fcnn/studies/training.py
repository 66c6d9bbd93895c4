"""Training a small network many times over, with one compiled step for all seeds and learning rates."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fcnn import augment, models
from fcnn.analysis.sanity.trial import compile_once
from fcnn.config import AugmentConfig, OptimConfig
from fcnn.data import AnySplit, Dataset, eval_batches, evenly_spaced
from fcnn.data.pipeline import EpochSampler
from fcnn.data.splits import stratified_holdout
from fcnn.models.classifier import Classifier, EndpointFn
from fcnn.nn import global_avg_pool
from fcnn.training.metrics import Metrics, compute_metrics, cross_entropy
from fcnn.training.optim import make_optimizer, make_schedule
from fcnn.training.state import TrainState, state_init
from fcnn.training.step import make_train_step
from fcnn.utils.batch import Batch, make_batch

EVALUATED = 2000
"""At most so many images of a split, evenly spread, tell how good a network is."""


class ConvStack(Classifier, kw_only=True):
    """`depth` convolutions of `channels`, each with normalization and activation, at full size; the mean over all
    positions; a classifier. Its parts can be exchanged one at a time."""

    channels: int = 16
    depth: int = 6
    kernel: int = 3
    """Height and width of all kernels but the first, which is 3 x 3."""

    def forward(self, x: jax.Array, train: bool, endpoint: EndpointFn) -> jax.Array:
        for i in range(1, self.depth + 1):
            kernel = 3 if i == 1 else self.kernel
            x = self.conv_norm_act(train)(self.channels, kernel, padding=kernel // 2, name=f"conv{i}")(x)
            x = endpoint(f"conv{i}", x)
        return self.head(name="head")(self.drop(global_avg_pool(x), 0.0, train))


class Score(NamedTuple):
    """Of a network on some images: mean cross-entropy, and the share of right answers."""

    loss: float
    accuracy: float


class Trainer:
    """Trains one architecture on one data set.

    Args:
      optim: its learning rate is that of `train` unless another one is given there.
      steps: the length of a run.
      augmentation: of the training images; none by default.
    """

    def __init__(
        self, data: Dataset, model: models.Classifier, optim: OptimConfig, steps: int, batch_size: int,
        augmentation: AugmentConfig | None = None,
    ) -> None:  # fmt: skip
        self.data, self.model, self.optim, self.steps, self.batch_size = data, model, optim, steps, batch_size
        self._change = augment.from_config(augmentation or AugmentConfig(), num_classes=len(data.classes))
        self._normalize = augment.normalize(*data.mean_std())
        self._init = compile_once(state_init(model, self._optimizer(1.0), data.image_shape))
        self._step = jax.jit(self._update)
        self._gradient = compile_once(jax.grad(self._loss))
        self._score = jax.jit(self._measure, static_argnames="train")

    def _optimizer(self, rate: Any) -> Any:
        # The schedule's shape at a peak of 1, times a rate that is an argument of the compiled step.
        unit = make_schedule(OptimConfig(learning_rate=1.0, schedule=self.optim.schedule), steps=self.steps, warmup=0)
        return make_optimizer(self.optim, lambda step: rate * unit(step))

    def _preprocess(self, key: jax.Array, batch: Batch) -> Batch:
        return self._normalize(self._change(key, batch))

    def _update(self, state: TrainState, batch: Batch, rate: jax.Array) -> tuple[TrainState, jax.Array]:
        update = make_train_step(
            self.model, self._optimizer(rate), preprocess=self._preprocess, l1=self.optim.l1, l2=self.optim.l2
        )
        state, report = update(state, batch)
        return state, report.metrics.loss / report.metrics.count

    def start(self, seed: int) -> TrainState:
        """The state before the first step."""
        return self._init(jax.random.key(seed))

    def train(
        self, seed: int, rate: float | None = None, state: TrainState | None = None
    ) -> tuple[TrainState, np.ndarray]:
        """Trains from `state`, a fresh one by default; returns the last state and the loss of each step, (steps,).

        A run whose loss stops being a number ends there: the rest of its losses are infinite.
        """
        current = self.start(seed) if state is None else state
        peak = jnp.asarray(self.optim.learning_rate if rate is None else rate, jnp.float32)
        order, losses = EpochSampler(len(self.data.train), self.batch_size, seed), np.full(self.steps, np.inf)
        for number in range(self.steps):
            current, loss = self._step(current, pick_batch(self.data.train, order.at(number)[1]), peak)
            losses[number] = loss
            if not np.isfinite(losses[number]):
                losses[number:] = np.inf
                break
        return current, losses

    def score(self, state: TrainState, split: AnySplit, *, train: bool = False) -> Score:
        """How good a network is on a split; with `train` as training sees it, batch norm by each batch's statistics."""
        places = evenly_spaced(len(split), EVALUATED)
        size, sums = self.batch_size if train else min(len(places), 500), []
        for indices, mask in eval_batches(len(places), size):
            if train and not mask.all():
                break  # statistics of a batch that is filled up would not be a batch's
            batch: Any = {**pick_batch(split, places[indices]), "mask": mask}
            sums.append(jax.device_get(self._score(state.variables, batch, train=train)))
        total = sum(float(part.count) for part in sums)
        return Score(sum(float(s.loss) for s in sums) / total, sum(float(s.top1) for s in sums) / total)

    def gradients(self, state: TrainState) -> dict[str, float]:
        """The root mean square of the gradient of each layer's kernel on one batch, by the layer's name."""
        batch = pick_batch(self.data.train, np.arange(self.batch_size))
        grads = self._gradient(state.params, state.batch_stats, batch)
        return {name: float(jnp.sqrt(jnp.square(layer["kernel"]).mean())) for name, layer in grads.items()}

    def _loss(self, params: Any, batch_stats: Any, batch: Batch) -> jax.Array:
        variables, images = {"params": params, "batch_stats": batch_stats}, self._normalize(batch)["image"]
        logits, _ = self.model.apply(variables, images, train=True, mutable=["batch_stats"])
        return cross_entropy(logits, batch["label"]).mean()

    def _measure(self, variables: Any, batch: Batch, *, train: bool) -> Metrics:
        images, keys = self._normalize(batch)["image"], {"dropout": jax.random.key(0)}
        logits, _ = self.model.apply(variables, images, train=train, mutable=["batch_stats"], rngs=keys)
        return compute_metrics(logits, batch["label"], batch["mask"])


def pick_batch(split: AnySplit, indices: np.ndarray) -> Batch:
    """The images of a split at these places, with their labels."""
    return make_batch(split.read(indices), split.labels[indices])


def fewer(data: Dataset, images: int, seed: int = 0) -> Dataset:
    """The data set with so few training images, in proportion to the classes; `seed` says which."""
    if images >= len(data.train):
        return data
    _, chosen = stratified_holdout(data.train.labels, images / len(data.train), seed)
    return dataclasses.replace(data, train=data.train.take(chosen))


def normalized(data: Dataset, split: AnySplit, images: int | None = None) -> tuple[jax.Array, jax.Array]:
    """The first so many images of a split, or all, as a network is given them, and their labels: (N, H, W, C) float32
    and (N,) int32."""
    places = np.arange(min(images or len(split), len(split)))
    batch: Any = {"image": split.read(places), "label": split.labels[places]}
    pixels = augment.normalize(*data.mean_std())(batch)["image"]
    return jnp.asarray(pixels), jnp.asarray(split.labels[places])
