"""From a config to what it describes: data on the devices, compiled steps, a fresh state."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fcnn import augment, models
from fcnn.config import AugmentConfig, Config, in_steps
from fcnn.data import AnySplit, Dataset, Streamed
from fcnn.data.parallel import Progress, no_progress
from fcnn.data.pipeline import DevicePipeline, EpochSampler, StreamPipeline, make_pipeline
from fcnn.distributed import sharding
from fcnn.models.from_config import from_config
from fcnn.report.records import WEIGHTS
from fcnn.training.metrics import ClassMetrics, Metrics, wilson
from fcnn.training.optim import freeze, make_optimizer, make_schedule, scale_rates
from fcnn.training.pretrained import load_network
from fcnn.training.state import TrainState, create_state, state_init
from fcnn.training.step import StepReport, make_eval_step, make_train_step
from fcnn.training.trainable import Plan, make_plan, start_from
from fcnn.utils.batch import Batch
from fcnn.utils.errors import UserError
from fcnn.weights import linear_head, published


@dataclasses.dataclass(frozen=True)
class TrainSetup:
    """What a config determines before the first step. Durations are in steps."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    model: models.Classifier
    plan: Plan
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    steps_per_epoch: int
    total_steps: int
    warmup: int
    eval_every: int

    def init_state(self) -> TrainState:
        """The state before the first step, on every device."""
        shape = self.dataset.image_shape
        key, ema = jax.random.key(self.config.seed), self.config.train.ema_decay is not None
        return sharding.replicate(create_state(self.model, self.optimizer, shape, key, ema=ema), self.mesh)

    def abstract_state(self) -> TrainState:
        """The same described: no array is made."""
        ema = self.config.train.ema_decay is not None
        init = state_init(self.model, self.optimizer, self.dataset.image_shape, ema=ema)
        return sharding.abstract(jax.eval_shape(init, jax.random.key(0)), sharding.replicated(self.mesh))

    @property
    def transferred(self) -> bool:
        """Whether training starts from the arrays of a trained network."""
        transfer = self.config.transfer
        return transfer.weights is not None and transfer.strategy not in ("scratch", "mean_var")

    def start_state(self, log: Callable[[str], None]) -> TrainState:
        """The state before the first step, with the weights that training starts from.

        Raises:
          UserError: there are none, or they don't fit.
        """
        state, transfer = self.init_state(), self.config.transfer
        if transfer.weights is None or transfer.strategy == "scratch":
            return state
        network = load_network(transfer.weights, published(self.config.model), head=False)
        same_head = linear_head(network.about.model) == linear_head(self.config.model)
        classes, seed = self.dataset.classes, self.config.seed
        variables, message = start_from(
            network, classes, state.variables, transfer.strategy, seed=seed, same_head=same_head
        )
        trainable = sum(array.size for layer, array in _arrays(state.params) if layer not in self.plan.frozen)
        which = f", {WEIGHTS[network.about.weights]}" if network.about.weights else ""
        message = " ".join([*network.notes, message])
        log(f"From {transfer.weights}{which}. {message} {trainable if self.total_steps else 0:,} parameters learn.")
        ema = None if state.ema is None else jax.tree.map(jnp.copy, variables)  # a step may reuse either's memory
        return sharding.replicate(state.replace(**variables, ema=ema), self.mesh)

    def normalize(self) -> Callable[[Batch], Batch]:
        """From pixels to what the model takes."""
        return augment.normalize(*self.dataset.mean_std()) if self.model.start is None else lambda batch: batch


def _arrays(params: Any) -> list[tuple[str, jax.Array]]:
    """Every array with the name of the layer that it belongs to, in the top level."""
    return [(layer, array) for layer, tree in params.items() for array in jax.tree.leaves(tree)]


def make_setup(config: Config, dataset: Dataset, mesh: Mesh, *, num_train: int | None = None) -> TrainSetup:
    """Works out what the config means for this data set and these devices; nothing is compiled yet.

    Args:
      num_train: images of the run's training split, where some of them may be gone; None for those of `dataset`.

    Raises:
      UserError: the batch doesn't divide over the devices or is larger than the training split, or the images are too
        small for the network.
    """
    sharding.check_divides(config.train.batch_size // config.train.grad_accum_steps, mesh, _batch_name(config))
    sharding.check_divides(config.train.eval_batch_size, mesh, "train.eval-batch-size")
    model = make_model(config, num_classes=len(dataset.classes))
    model.check_size(*dataset.train.shape[:2], train=True)
    plan = make_plan(config.transfer, model, dataset.image_shape)
    size, batch_size = num_train or len(dataset.train), config.train.batch_size
    if batch_size > size:
        raise UserError(f"train.batch-size {batch_size} is larger than the training split, {size} images")
    per_epoch = size // batch_size  # an epoch's last images that don't fill a batch wait for another epoch's order
    total = max(in_steps(config.train.epochs, config.train.steps, per_epoch), 1)
    if config.transfer.strategy == "pretrained":
        total = 0
    warmup = in_steps(config.optim.warmup_epochs, config.optim.warmup_steps, per_epoch)
    schedule = make_schedule(config.optim, steps=total, warmup=warmup)
    return TrainSetup(
        config=config,
        dataset=dataset,
        mesh=mesh,
        model=model.clone(frozen=plan.frozen),
        plan=plan,
        optimizer=plan_optimizer(config, plan, schedule),
        schedule=schedule,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup=warmup,
        eval_every=max(in_steps(config.train.eval_epochs, config.train.eval_steps, per_epoch), 1),
    )


def plan_optimizer(config: Config, plan: Plan, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns the config's optimizer with the plan's learning rates by layer, and without what is frozen."""
    optimizer = make_optimizer(config.optim, schedule)
    if plan.shares:
        optimizer = scale_rates(optimizer, plan.shares)
    return freeze(optimizer, plan.frozen) if plan.frozen else optimizer


def _batch_name(config: Config) -> str:
    return "train.batch-size" if config.train.grad_accum_steps == 1 else "train.batch-size / train.grad-accum-steps ="


def make_model(config: Config, *, num_classes: int) -> models.Classifier:
    """The Linen module that a config describes; UserError if an option of the architecture is wrong."""
    dtype = {"float32": None, "bfloat16": jnp.bfloat16}[config.precision]
    return from_config(config.model, num_classes=num_classes, dtype=dtype)


def train_pipeline(setup: TrainSetup) -> DevicePipeline | StreamPipeline:
    """Where training images come from."""
    return make_pipeline(setup.dataset.train, setup.mesh, least=setup.config.augment.resized_crop)


def train_items(setup: TrainSetup, pipeline: DevicePipeline | StreamPipeline, first: int) -> Iterator[Any]:
    """What the steps after `first` updates are given, to the end of the run."""
    order = EpochSampler(len(setup.dataset.train), setup.config.train.batch_size, setup.config.seed)
    return pipeline.train(order, range(first, setup.total_steps))


def train_step(setup: TrainSetup) -> Callable[[TrainState, Batch], tuple[TrainState, StepReport]]:
    """The update alone, of batches that are augmented and normalized already; not compiled."""
    config = setup.config
    return make_train_step(
        setup.model.clone(axis_name=sharding.norm_axis(config.parallel)),
        setup.optimizer,
        label_smoothing=config.optim.label_smoothing,
        l1=config.optim.l1,
        l2=config.optim.l2,
        decay_mask=config.optim.decay_mask,
        grad_accum_steps=config.train.grad_accum_steps,
        ema_decay=config.train.ema_decay,
        class_weights=setup.dataset.class_weights,
        axis_name=sharding.step_axis(config.parallel),
        frozen=setup.plan.frozen,
    )


def compile_train_step(
    setup: TrainSetup, state: TrainState, pipeline: DevicePipeline | StreamPipeline | None = None
) -> Callable[[TrainState, Any], tuple[TrainState, StepReport]]:
    """The compiled step `(state, item) -> (state, StepReport)`; the old state's memory becomes the new one's.

    Picking the images (where they live on the device), augmentation, normalization and the update are one program. An
    item is what the feed's `train` gives: the indices of the images, (B,) int32, or the images and their labels.
    """
    pipeline = pipeline or train_pipeline(setup)
    mask = sharding.shard(np.ones(setup.config.train.batch_size, bool), setup.mesh)
    compiled = sharding.compile_step(*_whole_step(setup, state, pipeline), donate=True, how=setup.config.parallel)
    return lambda state, item: compiled(state, *pipeline.device_put(item), mask)


def trace_train_step(
    setup: TrainSetup, state: TrainState, pipeline: DevicePipeline | StreamPipeline
) -> jax.stages.Traced:
    """The same program in mode jit, not compiled yet; `state` may be a description."""
    return sharding.trace_step(*_whole_step(setup, state, pipeline), donate=True, how=setup.config.parallel)


def _whole_step(setup: TrainSetup, state: TrainState, pipeline: DevicePipeline | StreamPipeline) -> tuple[Any, ...]:
    """The step from a feed's item to the next state, and what its arguments are like."""
    config, axis = setup.config, sharding.step_axis(setup.config.parallel)
    change = augment.from_config(left_for_the_device(setup), num_classes=len(setup.dataset.classes), axis_name=axis)
    normalize = setup.normalize()
    update = train_step(setup)

    def step(state: TrainState, *arrays: jax.Array) -> tuple[TrainState, StepReport]:
        # The step's key, apart from the one that the model's dropout uses.
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), 1)
        return update(state, normalize(change(key, sharding.number(pipeline.batch(*arrays), axis))))

    batch_size = config.train.batch_size
    mask = jax.ShapeDtypeStruct((batch_size,), bool, sharding=sharding.sharded(setup.mesh))
    return step, state, *pipeline.abstract(batch_size), mask


def left_for_the_device(setup: TrainSetup) -> AugmentConfig:
    """The augmentation that is left for the device: crops of files are cut when the files are decoded."""
    train, config = setup.dataset.train, setup.config.augment
    cut = isinstance(train, Streamed) and train.files is not None
    return dataclasses.replace(config, resized_crop=1.0) if cut else config


def compile_evaluation(
    setup: TrainSetup, variables: Any, split: AnySplit, *, details: bool = False
) -> Callable[[Any], dict[str, Any]]:
    """The compiled evaluation of a split: `variables -> {"loss", "top1", "top5"}`, means over every image once.

    With `details`, what `detail` tells as well.
    """
    normalize = setup.normalize()
    eval_step = make_eval_step(setup.model)
    pipeline, batch_size = make_pipeline(split, setup.mesh), eval_batch_size(setup, split)

    def step(variables: Any, *arrays: jax.Array) -> ClassMetrics:
        return eval_step(variables, normalize(pipeline.batch(*arrays)))

    mask = sharding.shard(np.ones(batch_size, bool), setup.mesh)
    compiled = sharding.compile_step(step, variables, *pipeline.abstract(batch_size), mask, donate=False)
    once = pipeline.eval_epoch(batch_size)

    def evaluate(variables: Any) -> dict[str, Any]:
        sums = sharding.to_host([compiled(variables, *pipeline.device_put(item), mask) for item, mask in once()])
        found = means(sums, expected=len(split))
        return found | detail(sums, setup.dataset.classes) if details else found

    return evaluate


def compile_on_each(
    setup: TrainSetup, function: Callable[[Any, jax.Array], jax.Array], given: Any, split: AnySplit
) -> Callable[..., np.ndarray]:
    """What computes `function` on every image of a split, not augmented: `(track=no_track) -> (N, ...)`.

    Args:
      function: `(given, images) -> (B, ...)`, pure, of normalized images (B, H, W, C).
      given: on the devices.
      split: not empty.
    """
    normalize, pipeline, batch_size = setup.normalize(), make_pipeline(split, setup.mesh), eval_batch_size(setup, split)

    def step(given: Any, *arrays: jax.Array) -> jax.Array:
        return function(given, normalize(pipeline.batch(*arrays))["image"])

    mask = sharding.shard(np.ones(batch_size, bool), setup.mesh)
    compiled = sharding.compile_step(step, given, *pipeline.abstract(batch_size), mask, donate=False)

    def compute(progress: Progress = no_progress) -> np.ndarray:
        batches = progress(pipeline.eval_epoch(batch_size)(), "asking", -(-len(split) // batch_size))
        found = sharding.to_host([compiled(given, *pipeline.device_put(item), mask) for item, mask in batches])
        return np.concatenate(found)[: len(split)]  # without what the last batch was filled up with

    return compute


def eval_batch_size(setup: TrainSetup, split: AnySplit) -> int:
    """The configured size, or what the split needs if that is less."""
    devices = setup.mesh.size
    return min(setup.config.train.eval_batch_size, -(-len(split) // devices) * devices)


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
    hits = np.stack([part.class_top1 for part in sums]).astype(np.float64).sum(axis=0)
    counts = np.stack([part.class_count for part in sums]).astype(np.float64).sum(axis=0)
    by_class = [(name, int(hit), int(count)) for name, hit, count in zip(classes, hits, counts, strict=True)]
    return {
        "interval": list(wilson(sum(hit for _, hit, _ in by_class), sum(count for _, _, count in by_class))),
        "recall": {name: hit / count if count else None for name, hit, count in by_class},
        "images": {name: count for name, _, count in by_class},
    }
