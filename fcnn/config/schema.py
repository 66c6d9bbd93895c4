"""A run's configuration: frozen dataclasses that say every unit and refuse what can't work.

Standard library only, so that a mistake on the command line is answered before jax is imported. A preset
(`configs/NAME.py`) is one `Config` with what differs from the defaults here; `config_json.py` writes and reads them.
"""

import dataclasses
import os
import re
from typing import Literal

from fcnn import registry
from fcnn.config import names
from fcnn.config.validate import INF, TINY, check, check_numbers
from fcnn.utils.errors import unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they are split."""

    name: str = "digits"
    """The data set: digits (scikit-learn's 1,797 scanned handwritten digits, 8x8), mnist, fashion_mnist, cifar10,
    cifar100, folder:PATH (images in a folder for each class) or tfds:NAME[/CONFIG][:VERSION] (anything TFDS has)."""
    manual_dir: str | None = None
    """Folder with the official files of mnist, fashion_mnist, cifar10 or cifar100, archives or extracted; downloaded if
    not given."""
    image_size: int | None = None
    """Pixels of a side: the shorter side is resized to it and the middle cut out; None for the images' own size (128
    for folder:)."""
    val_fraction: float = 0.1
    """Share of the training split that is held out, stratified, to choose the best epoch by; 0 for none. A set that
    comes with train, validation and test splits keeps them."""
    num_train: int | None = None
    """Learn from so many images alone, in proportion to the classes; None for all that aren't held out."""
    test_fraction: float = 0.2
    """Share of the images that is held out, stratified, for the test where a set comes without a test split."""
    split_seed: int = 0
    """Seed of those splits; not the run's seed, so that several seeds are compared on the same images."""
    on_bad_image: Literal["error", "skip"] = "error"
    """folder: what to do about files that can't be read: stop and list them, or leave them out and count them."""
    value_range: tuple[float, float] | None = None
    """folder: the values of gray images of more than 8 bits (16-bit PNG and TIFF, floats) that become black and white:
    0 4095 for a 12-bit camera; None for the lowest and the highest in the training files."""
    pipeline: Literal["auto", "device", "stream"] = "auto"
    """Where images wait for their step: on the device, all of them as uint8, or on the disk, from which they are read
    and decoded batch by batch; auto streams a set that takes more than a quarter of the memory. The numbers are the
    same, but that augment.resized_crop cuts the streamed images of folder: from their files' own pixels."""
    class_weights: Literal["none", "balanced"] = "none"
    """What a training image counts in the loss: the same, or the less the more its class has (images / (classes x
    images of the class)). The loss is sum(w_i x loss_i) / sum(w_i), where w_i is the weight of image i's label, or of a
    mixed label the mean of its classes' weights by their shares. With label smoothing or mixed labels this is not the
    loss of PyTorch's CrossEntropyLoss(weight=...), which weights each class's term within an image (and divides by the
    number of images where labels are mixed); without them the two are the same."""
    mean: tuple[float, ...] | None = None
    """Pixel mean by channel, 0 to 1, that is subtracted; None to measure it on the training split."""
    std: tuple[float, ...] | None = None
    """Standard deviation by channel, 0 to 1, by which is divided; None to measure it too."""

    def __post_init__(self) -> None:
        _check_dataset_name(self.name)
        check_numbers(
            self, "data.", image_size=(1, 4096), num_train=(1, INF), val_fraction=(0, 0.9), test_fraction=(0.001, 0.9),
            split_seed=(0, 2**32 - 1),
        )  # fmt: skip
        low, high = self.value_range or (0, 1)
        check(
            -INF < low < high < INF,
            f"data.value-range must be two numbers, the lower one first, got {self.value_range}",
        )
        check(
            self.value_range is None or self.name.startswith("folder:"),
            f"data.value-range has no effect with {self.name}; it belongs to folder:",
        )
        check((self.mean is None) == (self.std is None), "data.mean and data.std go together: give both or neither")
        for name, values, low in (("mean", self.mean or (), 0.0), ("std", self.std or (), 1e-6)):
            check(all(low <= v <= 1 for v in values), f"data.{name} is on a scale of 0 to 1, got {values}")
        check(len(self.mean or ()) == len(self.std or ()), "data.mean and data.std need a number for each channel")
        check(
            self.manual_dir is None or self.name in names.DATASETS[1:],
            f"data.manual-dir has no effect with {self.name}; it belongs to {', '.join(names.DATASETS[1:])}",
        )


def _check_dataset_name(name: str) -> None:
    kind, _, rest = name.partition(":")
    if kind == "folder":
        check(rest != "", "data.name folder:PATH needs the path of a folder of images")
    elif kind == "tfds":
        ok = re.fullmatch(names.TFDS_NAME, rest) is not None
        check(ok, f"data.name {name!r} must look like tfds:NAME, tfds:NAME/CONFIG or tfds:NAME:1.0.0")
    else:
        known = (*names.DATASETS, "folder:PATH", "tfds:NAME")
        check(name in names.DATASETS or not os.path.exists(name), f"data.name {name!r} is a path: write folder:{name}")
        check(name in names.DATASETS, unknown("data.name", name, known))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What happens to a training image, on the device, drawn anew for each image and step."""

    resized_crop: float = 1.0
    """Least share of the area that a random crop keeps before it is resized to the image's size (0.08 in GoogLeNet);
    1 for none."""
    zoom: float = 1.0
    """Largest factor by which an image is resized, up or down, within its frame; 1 for none."""
    rotation: float = 0.0
    """Degrees by which an image is rotated at most, either way."""
    crop_padding: int = 0
    """Pixels of zeros added on every side before a random crop back to the image's size; 0 for none."""
    flip: bool = False
    """Mirror left and right with probability 1/2."""
    flip_vertical: bool = False
    """Mirror top and bottom with probability 1/2."""
    brightness: float = 0.0
    """Multiply pixels by 1 - this to 1 + this."""
    contrast: float = 0.0
    """Multiply the distance of pixels to the image's mean gray by 1 - this to 1 + this."""
    saturation: float = 0.0
    """Multiply the distance of pixels to their own gray by 1 - this to 1 + this; color images alone."""
    hue: float = 0.0
    """Turns (1 is the whole circle of colors) by which the hue is shifted at most, either way; color images alone."""
    noise: float = 0.0
    """Standard deviation of the Gaussian noise that is added, as a share of the range from black to white."""
    cutout: int = 0
    """Side, in pixels, of a square that is blackened at a random place; 0 for none."""
    mixup: float = 0.0
    """alpha of Beta(alpha, alpha), from which an image's share in its mixture with another one is drawn; 0 for none."""
    cutmix: float = 0.0
    """alpha of Beta(alpha, alpha), from which the share that an image keeps beside a box of another one is drawn; 0 for
    none. With both, each image gets mixup or CutMix."""

    def __post_init__(self) -> None:
        check_numbers(
            self, "augment.", resized_crop=(0.01, 1), zoom=(1, 16), rotation=(0, 180), crop_padding=(0, 1024),
            brightness=(0, INF), contrast=(0, INF), saturation=(0, INF), hue=(0, 0.5), noise=(0, 1), cutout=(0, 1024),
            mixup=(0, INF), cutmix=(0, INF),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network. None means the architecture's own; docs/models.md lists them."""

    name: str = "resnet20"
    """The architecture; `fcnn models` lists them."""
    width_multiplier: float = 1.0
    """Multiplies the number of channels of every layer but the classifier."""
    activation: str | None = None
    """relu, leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, hard_swish, sigmoid, tanh or softplus."""
    norm: str | None = None
    """What stands behind the convolutions: batch, group, layer, instance or none."""
    kernel_init: str | None = None
    """he_normal, xavier_uniform, orthogonal ...; if not given, what suits the activation."""
    dropout: float | None = None
    """Probability of dropping an input, in every dropout layer."""
    remat: bool = False
    """Keep only the stages' outputs for the backward pass and compute the rest again: saves memory on a GPU or TPU; on
    a CPU, XLA undoes it."""
    options: dict[str, bool | int | float | str | tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """The architecture's own fields: --model.options.shortcut projection, {"shortcut": "projection"} in a preset."""

    def __post_init__(self) -> None:
        for field, known in (
            ("name", registry.MODELS),
            ("activation", names.ACTIVATIONS),
            ("norm", names.NORMS),
            ("kernel_init", names.INITIALIZERS),
        ):
            value = getattr(self, field)
            check(value is None or value in known, unknown(f"model.{field.replace('_', '-')}", str(value), known))
        check_numbers(self, "model.", width_multiplier=(TINY, 1000), dropout=(0, 0.999))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimizer, learning-rate schedule and regularization. None means the method's own default (`names.py`)."""

    name: str = "sgd"
    """sgd, adagrad, rmsprop, adam, adamw or lars."""
    learning_rate: float = 0.1
    """The peak of the schedule."""
    momentum: float | None = None
    """sgd, lars (0.9), rmsprop (0)."""
    nesterov: bool = False
    """sgd: Nesterov's momentum."""
    beta1: float | None = None
    """Decay of the first moment: adam, adamw (0.9)."""
    beta2: float | None = None
    """Decay of the second moment: adam, adamw (0.999), rmsprop (0.9)."""
    epsilon: float | None = None
    """Added to the denominator: adam, adamw, rmsprop (1e-8), adagrad (1e-10)."""
    trust_coefficient: float | None = None
    """lars (0.001)."""
    schedule: str = "cosine"
    """constant, step, cosine, linear, exponential or one_cycle."""
    milestones: tuple[float, ...] | None = None
    """step: the shares of the whole run, warm-up included, after which the rate drops (0.5 0.75)."""
    gamma: float | None = None
    """step: what the rate is multiplied by at each milestone (0.1); twice where two fall on one step."""
    end_lr_factor: float | None = None
    """Share of the peak at the end: cosine, linear (0), exponential (0.01), one_cycle (0.000004)."""
    pct_start: float | None = None
    """one_cycle: share of the run in which the rate rises, from a 25th of the peak (0.3)."""
    warmup_epochs: float = 0.0
    """Epochs in which the rate rises linearly to its peak."""
    warmup_steps: int | None = None
    """The same in steps; overrides warmup-epochs."""
    weight_decay: float | None = None
    """Decoupled weight decay: each step takes rate x this x weight off every decayed weight."""
    decay_mask: Literal["kernels", "all"] = "kernels"
    """What weight decay, l1 and l2 see: kernels alone, or biases and normalization too."""
    l1: float = 0.0
    """Adds this x sum |w| to the loss."""
    l2: float = 0.0
    """Adds this / 2 x sum w^2 to the loss (PyTorch's SGD weight_decay)."""
    label_smoothing: float = 0.0
    """Share of the label's probability that is spread evenly over all classes."""
    clip_norm: float | None = None
    """Scale gradients down to this global L2 norm where they exceed it."""

    def __post_init__(self) -> None:
        check(self.name in names.OPTIMIZERS, unknown("optim.name", self.name, names.OPTIMIZERS))
        check(self.schedule in names.SCHEDULES, unknown("optim.schedule", self.schedule, names.SCHEDULES))
        check_numbers(
            self, "optim.", learning_rate=(TINY, INF), momentum=(0, 0.9999), beta1=(0, 0.99999), beta2=(0, 0.999999),
            epsilon=(0, INF), trust_coefficient=(TINY, INF), gamma=(TINY, 1), end_lr_factor=(0, 1),
            pct_start=(0.01, 0.99), warmup_epochs=(0, INF), warmup_steps=(0, INF), weight_decay=(0, INF), l1=(0, INF),
            l2=(0, INF), label_smoothing=(0, 0.999), clip_norm=(TINY, INF),
        )  # fmt: skip
        for table, name in ((names.OPTIMIZERS, self.name), (names.SCHEDULES, self.schedule)):
            for option in {option for options in table.values() for option in options} - set(table[name]):
                check(
                    getattr(self, option) is None,
                    f"optim.{option.replace('_', '-')} has no effect with {name}; it belongs to "
                    + ", ".join(other for other, options in table.items() if option in options),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, in which batches, and what is kept on the way."""

    epochs: float = 40.0
    """Passes over the training split."""
    steps: int | None = None
    """Length in steps; overrides epochs."""
    batch_size: int = 64
    """Images a step, over all devices."""
    grad_accum_steps: int = 1
    """Micro-batches that a step's batch is cut into to save memory; batch norm sees one at a time."""
    eval_batch_size: int = 256
    """Images a step of evaluation, over all devices; changes memory and speed, not the result."""
    eval_epochs: float = 1.0
    """Epochs between evaluations on the validation split, each followed by a checkpoint."""
    eval_steps: int | None = None
    """The same in steps; overrides eval-epochs."""
    log_steps: int = 50
    """Steps between lines of metrics.jsonl within an epoch; also how late a non-finite loss is noticed."""
    ema_decay: float | None = None
    """Also keep an exponential moving average of params and batch statistics with this decay, or (1 + t) / (10 + t) in
    step t where that is less, as in TensorFlow's ExponentialMovingAverage. Evaluated beside the raw weights; the better
    of the two on validation is what is tested, exported and used, the average where they are equal or there is no
    validation split."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints within an epoch, for long ones; evaluations have their own."""
    max_to_keep: int = 2
    """Newest checkpoints that are kept."""
    keep_best: int = 1
    """Checkpoints with the best validation accuracy that are kept."""

    def __post_init__(self) -> None:
        check_numbers(
            self, "train.", epochs=(TINY, INF), steps=(1, INF), batch_size=(1, INF), grad_accum_steps=(1, INF),
            eval_batch_size=(1, INF), eval_epochs=(TINY, INF), eval_steps=(1, INF), log_steps=(1, INF),
            ema_decay=(0, 0.999999), checkpoint_steps=(1, INF), max_to_keep=(1, 1000), keep_best=(0, 1000),
        )  # fmt: skip
        check(
            self.batch_size % self.grad_accum_steps == 0,
            f"train.batch-size {self.batch_size} does not divide by train.grad-accum-steps {self.grad_accum_steps}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How a training step is spread over the devices."""

    mode: Literal["jit", "pmap"] = "jit"
    """One program that sees the whole batch, or one for each device that sees its share and exchanges sums; the numbers
    are the same."""
    batch_norm: Literal["global", "per_device"] = "global"
    """What batch norm takes for the batch: the whole one, or a device's share, without the sums over all devices in
    every layer; the running averages are then the means of the devices', and numbers depend on how many there are."""

    def __post_init__(self) -> None:
        check(self.mode in ("jit", "pmap"), unknown("parallel.mode", self.mode, ("jit", "pmap")))
        kinds = ("global", "per_device")
        check(self.batch_norm in kinds, unknown("parallel.batch-norm", self.batch_norm, kinds))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Where the weights come from before the first step, and which of them learn. Without weights: drawn, and all."""

    weights: str | None = None
    """A trained network: a name that `fcnn zoo` lists, a file of weights, an export, or the folder of a run. Its
    normalization is the run's too, and its head keeps the classes that it knows by name."""
    strategy: Literal["auto", "pretrained", "head", "last_block", "full", "scratch", "mean_var"] = "full"
    """What to do with them: pretrained (no training), head (learn the classifier on the frozen rest), last_block (the
    last convolutional stage as well), full (everything), scratch (nothing: for comparison), mean_var (draw anew, each
    array with their mean and variance: Raghu et al. 2019, Transfusion), auto (head, last_block or full, by how many
    images there are and how well the frozen network tells them apart; the run says why)."""
    backbone_lr_scale: float = 0.1
    """full, last_block: the learning rate of all but the head, as a share of the head's."""
    layer_decay: float = 1.0
    """full, last_block: what the rate is multiplied by once more for each stage further from the head."""
    compare: str | None = None
    """Another strategy to train with next, on the same data and as long, in a folder of that name within the run's; the
    results are printed side by side."""

    def __post_init__(self) -> None:
        check(self.strategy in names.STRATEGIES, unknown("transfer.strategy", self.strategy, names.STRATEGIES))
        others = [name for name in names.STRATEGIES if name not in (self.strategy, "auto")]
        check(self.compare is None or self.compare in others, unknown("transfer.compare", str(self.compare), others))
        check(
            self.compare is None or self.weights is not None,
            "transfer.compare has no effect without transfer.weights",
        )
        check_numbers(self, "transfer.", backbone_lr_scale=(TINY, 1), layer_decay=(TINY, 1))
        check(
            self.weights is not None or self.strategy in ("full", "scratch"),
            f"transfer.strategy {self.strategy} needs transfer.weights: a name of fcnn zoo, a file, or a run's folder",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run depends on beside its data and the code."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    parallel: ParallelConfig = ParallelConfig()
    transfer: TransferConfig = TransferConfig()
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of activations and gradients inside the network; params, batch statistics and the loss stay float32."""
    seed: int = 0
    """Seed of initialization, order, augmentation and dropout."""

    def __post_init__(self) -> None:
        check_numbers(self, "", seed=(0, 2**32 - 1))
        check(self.precision in names.PRECISIONS, unknown("precision", self.precision, names.PRECISIONS))


def in_steps(epochs: float, steps: int | None, steps_per_epoch: int) -> int:
    """A duration that may be given either way, in whole steps: `steps` counts if given."""
    return steps if steps is not None else round(epochs * steps_per_epoch)
