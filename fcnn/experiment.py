"""From a config to what it describes: data on the devices, compiled steps, a fresh state."""

import dataclasses
import json
import typing
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fcnn import augment, models, parallel
from fcnn.config import Config, in_steps
from fcnn.config_json import fits
from fcnn.data import Dataset, Split, eval_batches, gather
from fcnn.errors import UserError, unknown
from fcnn.metrics import ClassMetrics, Metrics, wilson
from fcnn.optim import make_optimizer, make_schedule
from fcnn.state import TrainState, create_state
from fcnn.step import StepReport, make_eval_step, make_train_step

Arrays = tuple[jax.Array, jax.Array]
"""A split on the devices: images (N, H, W, C) uint8, labels (N,) int32."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a config determines before the first step. Durations are in steps."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    model: models.Classifier
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    steps_per_epoch: int
    total_steps: int
    eval_every: int

    def fresh_state(self) -> TrainState:
        """The state before the first step, on every device."""
        shape = self.dataset.train.images.shape[1:]
        key = jax.random.key(self.config.seed)
        ema = self.config.train.ema_decay is not None
        return parallel.replicate(create_state(self.model, self.optimizer, shape, key, ema=ema), self.mesh)


def prepare(config: Config, dataset: Dataset, mesh: Mesh) -> Experiment:
    """Works out what the config means for this data set and these devices; nothing is compiled yet.

    Raises:
      UserError: the batch doesn't divide over the devices or is larger than the training split, or the images are too
        small for the network.
    """
    parallel.check_divides(config.train.batch_size // config.train.accumulate, mesh, _batch_name(config))
    parallel.check_divides(config.train.eval_batch_size, mesh, "train.eval-batch-size")
    model = make_model(config, num_classes=len(dataset.classes))
    model.check_size(*dataset.train.images.shape[1:3], train=True)
    size, batch_size = len(dataset.train), config.train.batch_size
    if batch_size > size:
        raise UserError(f"train.batch-size {batch_size} is larger than the training split, {size} images")
    per_epoch = size // batch_size  # an epoch's last images that don't fill a batch wait for another epoch's order
    total = max(in_steps(config.train.epochs, config.train.steps, per_epoch), 1)
    warmup = in_steps(config.optim.warmup_epochs, config.optim.warmup_steps, per_epoch)
    schedule = make_schedule(config.optim, steps=total, warmup=warmup)
    return Experiment(
        config=config,
        dataset=dataset,
        mesh=mesh,
        model=model,
        optimizer=make_optimizer(config.optim, schedule),
        schedule=schedule,
        steps_per_epoch=per_epoch,
        total_steps=total,
        eval_every=max(in_steps(config.train.eval_epochs, config.train.eval_steps, per_epoch), 1),
    )


def _batch_name(config: Config) -> str:
    return "train.batch-size" if config.train.accumulate == 1 else "train.batch-size / train.accumulate ="


def make_model(config: Config, *, num_classes: int) -> models.Classifier:
    """The Linen module that a config describes.

    Raises:
      UserError: the architecture has no such option, or the option no such value.
    """
    fields = {name: value for name, value in dataclasses.asdict(config.model).items() if value is not None}
    name, options = fields.pop("name"), {key: _from_word(word) for key, word in fields.pop("options").items()}
    known, hints = models.options(name), typing.get_type_hints(models.family(name))
    for option, value in options.items():
        if option not in known:
            raise UserError(unknown(f"option of {name}", option, known))
        if not fits(value, hints[option]):
            kind = " or ".join(map(str, typing.get_args(hints[option]))) or hints[option].__name__
            raise UserError(f"model.options {option} must be {kind}, got {config.model.options[option]}")
    dtype = {"float32": None, "bfloat16": jnp.bfloat16}[config.precision]
    return models.create(name, num_classes=num_classes, dtype=dtype, **fields, **options)


def _from_word(word: str) -> Any:
    """An option's value from JSON, lists as tuples; what isn't JSON is a bare word."""
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return tuple(value) if isinstance(value, list) else value


def compile_train_step(exp: Experiment, state: TrainState) -> Callable[[TrainState, np.ndarray], tuple]:
    """The compiled step `(state, indices) -> (state, StepReport)`; the old state's memory becomes the new one's.

    Gathering, augmentation, normalization and the update are one program; a step sends only its indices, (B,) int32,
    to the device.
    """
    config = exp.config
    change = augment.from_config(config.augment, num_classes=len(exp.dataset.classes))
    normalize = augment.normalize(*exp.dataset.mean_std())
    train_step = make_train_step(
        exp.model,
        exp.optimizer,
        label_smoothing=config.optim.label_smoothing,
        l1=config.optim.l1,
        l2=config.optim.l2,
        decay_mask=config.optim.decay_mask,
        accumulate=config.train.accumulate,
        ema_decay=config.train.ema_decay,
        class_weights=exp.dataset.class_weights,
    )

    def step(state: TrainState, split: Arrays, indices: jax.Array, mask: jax.Array) -> tuple[TrainState, StepReport]:
        images, labels = split
        # The step's key, apart from the one that the model's dropout uses.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 1)
        return train_step(state, normalize(change(key, gather(images, labels, indices, mask))))

    batch_size = config.train.batch_size
    split = _on_devices(exp.dataset.train, exp.mesh)
    mask = parallel.shard(np.ones(batch_size, bool), exp.mesh)
    indices = parallel.shard(np.zeros(batch_size, np.int32), exp.mesh)
    compiled = parallel.compile_step(step, state, split, indices, mask, donate=True)
    return lambda state, indices: compiled(state, split, parallel.shard(indices, exp.mesh), mask)


def compile_evaluation(
    exp: Experiment, variables: Any, split: Split, *, details: bool = False
) -> Callable[[Any], dict[str, Any]]:
    """The compiled evaluation of a split: `variables -> {"loss", "top1", "top5"}`, means over every image once.

    With `details`, what `detail` tells as well.
    """
    normalize = augment.normalize(*exp.dataset.mean_std())
    eval_step = make_eval_step(exp.model)

    def step(variables: Any, split: Arrays, indices: jax.Array, mask: jax.Array) -> ClassMetrics:
        images, labels = split
        return eval_step(variables, normalize(gather(images, labels, indices, mask)))

    batches = [parallel.shard(pair, exp.mesh) for pair in eval_batches(len(split), _eval_batch_size(exp, split))]
    arrays = _on_devices(split, exp.mesh)
    compiled = parallel.compile_step(step, variables, arrays, *batches[0], donate=False)

    def evaluate(variables: Any) -> dict[str, Any]:
        sums = parallel.to_host([compiled(variables, arrays, *batch) for batch in batches])
        found = means(sums, expected=len(split))
        return found | detail(sums, exp.dataset.classes) if details else found

    return evaluate


def _eval_batch_size(exp: Experiment, split: Split) -> int:
    """The configured size, or what the split needs if that is less."""
    devices = exp.mesh.size
    return min(exp.config.train.eval_batch_size, -(-len(split) // devices) * devices)


def _on_devices(split: Split, mesh: Mesh) -> Arrays:
    return parallel.replicate((split.images, split.labels), mesh)


def means(sums: Sequence[Metrics], *, expected: int) -> dict[str, float]:
    """Means over all examples from the sums of batches, added in float64.

    Raises:
      AssertionError: the batches held another number of examples than `expected`.
    """
    count = sum(float(part.count) for part in sums)
    assert count == expected, f"{count:g} examples were counted, there are {expected}"
    return {name: sum(float(getattr(part, name)) for part in sums) / count for name in ("loss", "top1", "top5")}


def detail(sums: Sequence[ClassMetrics], classes: Sequence[str]) -> dict[str, Any]:
    """How sure the accuracy is and which classes it comes from, as JSON can write it.

    Returns:
      {"interval": [low, high], the 95 % interval of top-1, "recall": {class: share of its images that are top-1 hits,
      None where it has no image}, "images": {class: how many it has}}.
    """
    hits = sum(np.asarray(part.class_top1, np.float64) for part in sums)
    counts = sum(np.asarray(part.class_count, np.float64) for part in sums)
    by_class = [(name, int(hit), int(count)) for name, hit, count in zip(classes, hits, counts, strict=True)]
    return {
        "interval": list(wilson(sum(hit for _, hit, _ in by_class), sum(count for _, _, count in by_class))),
        "recall": {name: hit / count if count else None for name, hit, count in by_class},
        "images": {name: count for name, _, count in by_class},
    }
