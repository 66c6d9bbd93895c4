"""From a config, and what a user passes in place of its parts, to all that a run needs before its first step."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fcnn import augment
from fcnn.config import AugmentConfig, Config, in_steps
from fcnn.data import Dataset, Streamed
from fcnn.data.pipeline import DevicePipeline, EpochSampler, StreamPipeline, make_pipeline
from fcnn.distributed import sharding
from fcnn.models import Classifier, from_config
from fcnn.training.metrics import LOSSES
from fcnn.training.optim import apply_layer_rates, make_optimizer, make_schedule, sharpness_aware
from fcnn.training.overrides import Overrides, check_overrides
from fcnn.training.state import TrainState, create_state, state_init
from fcnn.training.step import Preprocess, StepReport, TrainStep, make_train_step
from fcnn.training.trainable import Trainable, find_trainable
from fcnn.utils.batch import Batch
from fcnn.utils.errors import UserError

Pipeline = DevicePipeline | StreamPipeline
MOST_STEPS = 2**31 - 1
"""Steps are counted by int32."""


@dataclasses.dataclass(frozen=True)
class TrainSetup:
    """What is known before the first step. Durations are in steps."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    model: nn.Module
    trainable: Trainable
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule | None
    """The learning rate by step; None for an optimizer of the user's, which has its own."""
    steps_per_epoch: int
    total_steps: int
    warmup: int
    eval_every: int
    overrides: Overrides = dataclasses.field(default_factory=Overrides)

    def init_state(self) -> TrainState:
        """Returns the state before the first step, on every device, weights as they are drawn."""
        shape = self.dataset.image_shape
        key, ema = jax.random.key(self.config.seed), self.config.averages_weights
        return sharding.replicate(create_state(self.model, self.optimizer, shape, key, ema=ema), self.mesh)

    def abstract_state(self) -> TrainState:
        """Returns the same as `jax.ShapeDtypeStruct`s: no array is made."""
        ema = self.config.averages_weights
        init = state_init(self.model, self.optimizer, self.dataset.image_shape, ema=ema)
        return sharding.abstract(jax.eval_shape(init, jax.random.key(0)), sharding.replicated(self.mesh))

    @property
    def classifier(self) -> Classifier:
        """The model, where what is asked for needs the names of its endpoints; UserError for a user's own module."""
        if not isinstance(self.model, Classifier):
            raise UserError(f"{type(self.model).__name__} is not an fcnn.models.Classifier: it has no named endpoints")
        return self.model

    @property
    def transferred(self) -> bool:
        """Whether training starts from the arrays of a trained network."""
        transfer = self.config.transfer
        return transfer.weights is not None and transfer.strategy not in ("scratch", "mean_var")

    @property
    def starts_from_probe(self) -> bool:
        """Whether training starts from a linear probe of its training images."""
        return self.config.transfer.head_init == "linear_probe"

    @property
    def compares_start(self) -> bool:
        """Whether what training starts from is evaluated, too: the better of the two is kept."""
        return self.config.transfer.head_init != "random"

    @property
    def patience(self) -> float:
        """Steps without a higher validation accuracy after which the run ends."""
        epochs = self.config.train.patience
        return math.inf if epochs is None else epochs * self.steps_per_epoch

    def normalize(self) -> Callable[[Batch], Batch]:
        """Returns the function from pixels to what the model takes."""
        on_features = isinstance(self.model, Classifier) and self.model.start is not None
        return (lambda batch: batch) if on_features else augment.normalize(*self.dataset.mean_std())

    def preprocess(self, config: AugmentConfig | None = None, axis_name: str | None = None) -> Preprocess:
        """Returns what a training step does to stored images: augmentation, then normalization.

        Args:
          config: the augmentation; None for the run's.
          axis_name: of the devices, where each runs a program of its own on its share of the batch.
        """
        config = config or self.config.augment
        mix_steps = self.total_steps - round(config.mixup_off_epochs * self.steps_per_epoch)
        change = self.overrides.augment or augment.from_config(
            config,
            num_classes=len(self.dataset.classes),
            mix_steps=mix_steps if config.mixup_off_epochs else None,
            axis_name=axis_name,
        )
        normalize = self.normalize()
        return lambda key, batch: normalize(change(key, sharding.number(batch, axis_name)))

    def train_step(self, preprocess: Preprocess | None = None) -> TrainStep:
        """Returns the run's update, not compiled: of stored images with `preprocess`, else of normalized ones."""
        config = self.config
        return make_train_step(
            self.model,
            self.optimizer,
            preprocess=preprocess,
            loss=self.overrides.loss
            or functools.partial(LOSSES[config.optim.loss], smoothing=config.optim.label_smoothing),
            l1=config.optim.l1,
            l2=config.optim.l2,
            decay_mask=config.optim.decay_mask,
            grad_accum_steps=config.train.grad_accum_steps,
            ema_decay=config.train.ema_decay,
            schedule_free=config.optim.schedule_free,
            class_weights=self.dataset.class_weights,
            axis_name=sharding.step_axis(config.parallel),
            sync_batch_norm=config.parallel.batch_norm == "global",
            frozen=self.trainable.frozen,
            freeze_batch_norm=config.transfer.freeze_batch_norm,
        )

    def train_pipeline(self) -> Pipeline:
        """Returns where training images come from."""
        return make_pipeline(self.dataset.train, self.mesh, min_area=self.config.augment.resized_crop)

    def sampler(self) -> EpochSampler:
        """Returns which images each step sees."""
        return EpochSampler(len(self.dataset.train), self.config.train.batch_size, self.config.seed)

    def train_items(self, pipeline: Pipeline, first: int) -> Iterator[Any]:
        """Returns the inputs of the steps after `first` updates, to the end of the run."""
        return pipeline.train(self.sampler(), range(first, self.total_steps))

    def device_augment(self) -> AugmentConfig:
        """Returns the augmentation that the device does: crops of files are cut when the files are decoded."""
        train, config = self.dataset.train, self.config.augment
        cut = isinstance(train, Streamed) and train.files is not None
        return dataclasses.replace(config, resized_crop=1.0) if cut else config


def make_setup(
    config: Config, dataset: Dataset, mesh: Mesh, *, num_train: int | None = None, overrides: Overrides | None = None
) -> TrainSetup:
    """Works out what a config means for a data set and some devices; nothing is compiled.

    Args:
      num_train: images of the run's training split, where some of them may be gone; None for those of `dataset`.

    Raises:
      UserError: the batch doesn't divide over the devices or is larger than the training split, the images are too
        small for the network, or what the user passes doesn't fit.
    """
    overrides = overrides or Overrides()
    sharding.check_batch_sizes(config.train, mesh)
    model = overrides.model or make_model(config, num_classes=len(dataset.classes))
    check_overrides(overrides, config, dataset)
    if isinstance(model, Classifier):
        model.check_size(*dataset.train.shape[:2], train=True)
    trainable = find_trainable(config.transfer, model, dataset.image_shape)
    if isinstance(model, Classifier):
        model = model.clone(frozen=trainable.frozen)
    size, batch_size = num_train or len(dataset.train), config.train.batch_size
    if batch_size > size:
        raise UserError(f"train.batch-size {batch_size} is larger than the training split, {size} images")
    per_epoch = size // batch_size  # an epoch's last images that don't fill a batch wait for another epoch's order
    total = max(in_steps(config.train.epochs, config.train.steps, per_epoch), 1)
    if total > MOST_STEPS:
        raise UserError(f"the run has {total:.3g} steps, and at most {MOST_STEPS:,} can be counted")
    if config.transfer.strategy == "pretrained":
        total = 0
    warmup = min(in_steps(config.optim.warmup_epochs, config.optim.warmup_steps, per_epoch), MOST_STEPS)
    mixed = total - round(config.augment.mixup_off_epochs * per_epoch)
    if total and mixed <= 0:
        raise UserError(
            f"augment.mixup-off-epochs {config.augment.mixup_off_epochs:g} leaves no step with mixup or cutmix: there "
            f"are {total / per_epoch:g} epochs"
        )
    if config.train.patience is not None and not len(dataset.validation):
        raise UserError("train.patience needs a validation split: set data.val-fraction above 0")
    schedule = make_schedule(config.optim, steps=total, warmup=warmup)
    optimizer = overrides.optimizer or make_optimizer(config.optim, schedule)
    optimizer = apply_layer_rates(optimizer, trainable.lr_scales, trainable.frozen)
    if config.optim.sam_rho is not None:
        optimizer = sharpness_aware(optimizer, config.optim.sam_rho)
    return TrainSetup(
        config=config,
        dataset=dataset,
        mesh=mesh,
        model=model,
        trainable=trainable,
        optimizer=optimizer,
        schedule=schedule if overrides.optimizer is None else None,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup=warmup,
        eval_every=max(in_steps(config.train.eval_epochs, config.train.eval_steps, per_epoch), 1),
        overrides=overrides,
    )


def make_model(config: Config, *, num_classes: int) -> Classifier:
    """Returns the Linen module that a config describes; UserError if an option of the architecture is wrong."""
    dtype = {"float32": None, "bfloat16": jnp.bfloat16}[config.precision]
    return from_config(config.model, num_classes=num_classes, dtype=dtype)


def compile_train_step(
    setup: TrainSetup, state: TrainState, pipeline: Pipeline | None = None
) -> Callable[[TrainState, Any], tuple[TrainState, StepReport]]:
    """Compiles the step `(state, item) -> (state, StepReport)`; the old state's memory becomes the new one's.

    Gathering the images (where they live on the device), augmentation, normalization and the update are one program.
    An item is what the pipeline's `train` gives: the indices of the images, (B,) int32, or the images and their labels.
    """
    pipeline = pipeline or setup.train_pipeline()
    mask = sharding.shard(np.ones(setup.config.train.batch_size, bool), setup.mesh)
    compiled = sharding.compile_step(
        *_step_and_arguments(setup, state, pipeline), donate=True, parallel=setup.config.parallel
    )
    return lambda state, item: compiled(state, *pipeline.device_put(item), mask)


def trace_train_step(setup: TrainSetup, state: TrainState, pipeline: Pipeline) -> jax.stages.Traced:
    """Traces the same program in mode jit; `state` may be abstract."""
    return sharding.trace_step(
        *_step_and_arguments(setup, state, pipeline), donate=True, parallel=setup.config.parallel
    )


def _step_and_arguments(setup: TrainSetup, state: TrainState, pipeline: Pipeline) -> tuple[Any, ...]:
    """The step from a pipeline's item to the next state, and arguments like those that it will be called with."""
    axis_name = sharding.step_axis(setup.config.parallel)
    update = setup.train_step(setup.preprocess(setup.device_augment(), axis_name))

    def step(state: TrainState, *arrays: jax.Array) -> tuple[TrainState, StepReport]:
        return update(state, pipeline.batch(*arrays))

    batch_size = setup.config.train.batch_size
    mask = jax.ShapeDtypeStruct((batch_size,), bool, sharding=sharding.sharded(setup.mesh))
    return step, state, *pipeline.abstract(batch_size), mask
