"""A run's configuration: frozen dataclasses that document every unit and refuse what can't work.

Standard library only, so that a mistake on the command line is reported before jax is imported. A preset
(`configs/NAME.py`) is one `Config` with what differs from the defaults here; `serialize.py` writes and reads them.
"""

import dataclasses
from typing import Literal

from fcnn import registry
from fcnn.config import names
from fcnn.config.images import AugmentConfig, DataConfig
from fcnn.config.validate import INF, TINY, check, check_known, check_numbers, check_paths


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network. None means the architecture's own; docs/models.md lists them."""

    name: str = "resnet20"
    """The architecture; `fcnn models` lists them."""
    width_multiplier: float = 1.0
    """Multiply the number of channels of every layer except the classifier by this."""
    activation: str | None = None
    """Activation: relu, relu6, leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, hard_swish, sigmoid, hard_sigmoid,
    tanh or softplus; None for the architecture's own."""
    norm: str | None = None
    """Normalization after convolutions: batch, group, layer, instance or none; None for the architecture's own."""
    kernel_init: str | None = None
    """Initializer of the kernels: he_normal, xavier_uniform, orthogonal, ...; None for the one that suits the
    activation."""
    dropout: float | None = None
    """Dropout rate of every dropout layer; None for the architecture's own."""
    remat: bool = False
    """Store only the outputs of the stages for the backward pass and recompute the rest (rematerialization): saves
    memory on a GPU or TPU, not on a CPU."""
    options: dict[str, bool | int | float | str | tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Options of this architecture: --model.options.shortcut projection, or {"shortcut": "projection"} in a preset."""

    def __post_init__(self) -> None:
        for field, known in (
            ("name", registry.MODELS),
            ("activation", names.ACTIVATIONS),
            ("norm", names.NORMS),
            ("kernel_init", names.INITIALIZERS),
        ):
            value = getattr(self, field)
            if value is not None:
                check_known(f"model.{field.replace('_', '-')}", value, known)
        check_numbers(self, "model.", width_multiplier=(TINY, 1000), dropout=(0, 0.999))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimizer, learning-rate schedule and regularization. None means the default of the optimizer or schedule
    (`names.py`)."""

    name: str = "sgd"
    """Optimizer: sgd, adagrad, rmsprop, adam, adamw, lamb, muon, lars, schedule_free_sgd or schedule_free_adamw. The
    last two (Defazio et al. 2024) require schedule constant and, since they average the weights, no ema-decay."""
    learning_rate: float = 0.1
    """Peak learning rate of the schedule."""
    momentum: float | None = None
    """Momentum: 0.9 by default for sgd and lars, 0.95 for muon, 0 for rmsprop."""
    nesterov: bool = False
    """sgd: use Nesterov momentum."""
    beta1: float | None = None
    """Decay of the first moment of adam, adamw, lamb, and of muon for params other than kernels; for schedule_free_sgd
    and schedule_free_adamw, the interpolation coefficient beta. 0.9 by default."""
    beta2: float | None = None
    """Decay of the second moment: 0.999 by default for adam, adamw, lamb, muon and schedule_free_adamw, 0.9 for
    rmsprop."""
    epsilon: float | None = None
    """Added to the denominator: 1e-8 by default for adam, adamw, rmsprop, muon and schedule_free_adamw, 1e-6 for lamb,
    1e-10 for adagrad."""
    trust_coefficient: float | None = None
    """Trust coefficient of lars, 0.001 by default."""
    schedule: str = "cosine"
    """Learning-rate schedule: constant, step, cosine, linear, exponential or one_cycle."""
    milestones: tuple[float, ...] | None = None
    """step: fractions of the run at which the learning rate drops, warm-up included; 0.5 0.75 by default."""
    gamma: float | None = None
    """step: factor by which to multiply the learning rate at each milestone, 0.1 by default."""
    end_lr_factor: float | None = None
    """Final learning rate as a fraction of the peak: 0 by default for cosine and linear, 0.01 for exponential, 0.000004
    for one_cycle."""
    pct_start: float | None = None
    """one_cycle: fraction of the run in which the learning rate rises, from 1/25 of the peak; 0.3 by default."""
    warmup_epochs: float = 0.0
    """Epochs of linear warm-up of the learning rate."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; overrides warmup-epochs."""
    weight_decay: float | None = None
    """Decoupled weight decay: each step subtracts learning rate x this x weight. Default: 0.01 for adamw,
    lamb and schedule_free_adamw, 0.0001 for lars, else 0."""
    decay_mask: Literal["kernels", "all"] = "kernels"
    """Parameters that weight decay, l1 and l2 apply to."""
    l1: float = 0.0
    """L1 regularization: adds this x sum |w| to the loss."""
    l2: float = 0.0
    """L2 regularization: adds this / 2 x sum w^2 to the loss, like weight_decay of PyTorch's SGD."""
    loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    """Training loss: softmax cross-entropy, or sigmoid cross-entropy averaged over classes. Logged losses are always
    the softmax cross-entropy."""
    label_smoothing: float = 0.0
    """Label smoothing: probability to spread evenly over all classes."""
    clip_norm: float | None = None
    """Clip gradients to this global L2 norm."""
    sam_rho: float | None = None
    """Sharpness-aware minimization (SAM, Foret et al. 2020): take the gradient after an ascent step of this L2 norm
    (often 0.05); a step takes twice as long."""

    def __post_init__(self) -> None:
        check_known("optim.loss", self.loss, names.LOSSES)
        check_known("optim.name", self.name, names.OPTIMIZERS)
        check_known("optim.schedule", self.schedule, names.SCHEDULES)
        check_numbers(
            self, "optim.", learning_rate=(TINY, INF), momentum=(0, 0.9999), beta1=(0, 0.99999), beta2=(0, 0.999999),
            epsilon=(0, INF), trust_coefficient=(TINY, INF), gamma=(TINY, 1), end_lr_factor=(0, 1),
            pct_start=(0.01, 0.99), warmup_epochs=(0, INF), warmup_steps=(0, INF), weight_decay=(0, INF), l1=(0, INF),
            l2=(0, INF), label_smoothing=(0, 0.999), clip_norm=(TINY, INF), sam_rho=(TINY, INF),
        )  # fmt: skip
        for table, name in ((names.OPTIMIZERS, self.name), (names.SCHEDULES, self.schedule)):
            for option in {option for options in table.values() for option in options} - set(table[name]):
                check(
                    getattr(self, option) is None,
                    f"optim.{option.replace('_', '-')} has no effect with {name}; it belongs to "
                    + ", ".join(other for other, options in table.items() if option in options),
                )
        check(
            not self.schedule_free or self.schedule == "constant",
            f"optim.name {self.name} needs optim.schedule constant, with or without warm-up",
        )
        check(
            not self.nesterov or (self.name == "sgd" and self.momentum != 0),
            "optim.nesterov needs optim.name sgd with a momentum above 0",
        )
        marks = self.milestones or ()
        check(
            all(0 < a < 1 for a in marks) and list(marks) == sorted(set(marks)),
            f"optim.milestones must rise between 0 and 1, got {' '.join(map(str, marks))}",
        )
        check(
            self.schedule != "exponential" or self.end_lr_factor != 0,
            "optim.end-lr-factor must be above 0 with exponential, which never reaches 0",
        )
        check(
            self.schedule != "one_cycle" or not (self.warmup_steps or self.warmup_epochs),
            "optim.schedule one_cycle has its own warm-up (optim.pct-start): leave out warmup-epochs and warmup-steps",
        )

    @property
    def schedule_free(self) -> bool:
        """Whether the optimizer averages the weights by itself."""
        return self.name.startswith("schedule_free")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batches, evaluation and checkpoints."""

    epochs: float = 40.0
    """Passes over the training split."""
    steps: int | None = None
    """Number of steps; overrides epochs."""
    batch_size: int = 64
    """Images per step, over all devices."""
    grad_accum_steps: int = 1
    """Split each batch into this many micro-batches to save memory; batch norm sees one at a time."""
    eval_batch_size: int = 256
    """Images per step of evaluation, over all devices; changes memory and speed, not the result."""
    eval_epochs: float = 1.0
    """Epochs between evaluations on the validation split, each followed by a checkpoint."""
    eval_steps: int | None = None
    """Steps between evaluations; overrides eval-epochs."""
    patience: float | None = None
    """Early stopping: end the run after this many epochs without a higher validation accuracy."""
    log_steps: int = 50
    """Steps between records in metrics.jsonl within an epoch, and between checks for a non-finite loss."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of params and batch statistics; in step t, (1 + t) / (10 + t) if that is
    less, as in TensorFlow. Averaged and raw weights are both evaluated on validation, and the better ones are used for
    testing and export; the averaged ones on a tie or without a validation split."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints within an epoch, in addition to the one after each evaluation."""
    max_to_keep: int = 2
    """Number of newest checkpoints to keep."""
    keep_best: int = 1
    """Number of checkpoints with the best validation accuracy to keep."""

    def __post_init__(self) -> None:
        check_numbers(
            self, "train.", epochs=(TINY, INF), steps=(1, INF), batch_size=(1, INF), grad_accum_steps=(1, INF),
            eval_batch_size=(1, INF), eval_epochs=(TINY, INF), eval_steps=(1, INF), log_steps=(1, INF),
            ema_decay=(0, 0.999999), checkpoint_steps=(1, INF), patience=(TINY, INF), max_to_keep=(1, 1000),
            keep_best=(0, 1000),
        )  # fmt: skip
        check(
            self.batch_size % self.grad_accum_steps == 0,
            f"train.batch-size {self.batch_size} does not divide by train.grad-accum-steps {self.grad_accum_steps}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How a training step is spread over the devices."""

    mode: Literal["jit", "pmap"] = "jit"
    """jit: one program for all devices; pmap: one program per device. The results are the same."""
    batch_norm: Literal["global", "per_device"] = "global"
    """Normalize over the whole batch (global), or over each device's share, which saves communication in every layer;
    running statistics are then averaged over the devices, and results depend on their number."""

    def __post_init__(self) -> None:
        check_known("parallel.mode", self.mode, ("jit", "pmap"))
        kinds = ("global", "per_device")
        check_known("parallel.batch-norm", self.batch_norm, kinds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Pretrained weights, and which layers are trained. Without weights, all layers are, from random ones."""

    weights: str | None = None
    """Pretrained weights: a name from `fcnn zoo`, a weight file or a run's folder. Images are normalized with the
    network's mean and std; the head keeps the weights of classes with the same name."""
    strategy: Literal["auto", "pretrained", "head", "last_block", "full", "scratch", "mean_var"] = "full"
    """Layers to train: head (only the classifier), last_block (head and last convolutional stage), full (all),
    pretrained (none), scratch (all, from random weights, for comparison), mean_var (all, from random weights with the
    mean and variance of the pretrained ones: Raghu et al. 2019, Transfusion), auto (a linear probe and, with enough
    images, full from there)."""
    head_init: Literal["random", "linear_probe", "extend"] = "random"
    """Initialization of a new head: random; linear_probe, a logistic regression on the features of the pretrained
    network, with C chosen by 5-fold cross-validation (with strategy full: LP-FT, Kumar et al. 2022); extend, the same
    for new classes only, with the rows of the other classes fixed."""
    backbone_lr_scale: float = 0.1
    """full, last_block: learning rate of the backbone, as a fraction of the head's."""
    layer_decay: float = 1.0
    """full, last_block: layer-wise decay of the learning rate: a factor for each stage away from the head."""
    freeze_batch_norm: bool = False
    """Batch norm uses the pretrained network's running statistics in training, too, and doesn't update them; scale and
    bias are still trained."""
    compare: str | None = None
    """Also train with this strategy, on the same data for as many steps, in a subfolder of the workdir, and print both
    results."""

    def __post_init__(self) -> None:
        check_paths(self, "transfer.", "weights")
        check_known("transfer.strategy", self.strategy, names.STRATEGIES)
        others = [name for name in names.STRATEGIES if name not in (self.strategy, "auto")]
        if self.compare is not None:
            check_known("transfer.compare", self.compare, others)
        check(
            self.compare is None or self.weights is not None,
            "transfer.compare has no effect without transfer.weights",
        )
        check_numbers(self, "transfer.", backbone_lr_scale=(TINY, 1), layer_decay=(TINY, 1))
        check_known("transfer.head-init", self.head_init, ("random", "linear_probe", "extend"))
        transferred = self.weights is not None and self.strategy not in ("scratch", "mean_var")
        fitted, frozen = self.head_init != "random", self.freeze_batch_norm
        check(not fitted or transferred, f"transfer.head-init {self.head_init} needs the features of transfer.weights")
        check(not frozen or transferred, "transfer.freeze-batch-norm needs the statistics of transfer.weights")
        check(
            self.weights is not None or self.strategy in ("full", "scratch"),
            f"transfer.strategy {self.strategy} needs transfer.weights: a name of fcnn zoo, a file, or a run's folder",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run depends on, except its data and the code."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    parallel: ParallelConfig = ParallelConfig()
    transfer: TransferConfig = TransferConfig()
    precision: Literal["float32", "bfloat16"] = "float32"
    """Data type of activations and gradients; params, batch statistics and the loss stay float32."""
    seed: int = 0
    """Seed of initialization, shuffling, augmentation and dropout."""

    def __post_init__(self) -> None:
        check_numbers(self, "", seed=(0, 2**32 - 1))
        check_known("precision", self.precision, names.PRECISIONS)
        for option, chosen in (
            ("train.ema-decay", self.train.ema_decay is not None),
            ("transfer.weights", self.transfer.weights is not None),  # rates by layer don't go with its average
        ):
            check(not (self.optim.schedule_free and chosen), f"{option} doesn't go with optim.name {self.optim.name}")

    def _repr_html_(self) -> str:
        from fcnn.config.serialize import to_html  # which imports this file

        return to_html(self)

    @property
    def averages_weights(self) -> bool:
        """Whether a run has averaged weights beside the raw ones."""
        return self.train.ema_decay is not None or self.optim.schedule_free


def in_steps(epochs: float, steps: int | None, steps_per_epoch: int) -> int:
    """Return a duration in whole steps; `steps` overrides `epochs`."""
    return steps if steps is not None else round(epochs * steps_per_epoch)
