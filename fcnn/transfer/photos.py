"""A folder of photographs to the config that suits it: whose weights, which image size, what learns, and how long.

    suggestion = configure(Path("photos"), options); suggestion.config, suggestion.seconds

Nothing about the config is special: it is printed, kept in the run's folder, and could have been written by hand.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from fcnn import zoo
from fcnn.calibration import LEAST_IMAGES
from fcnn.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    TransferConfig,
)
from fcnn.data import Dataset, load
from fcnn.data.folder import median_side
from fcnn.data.parallel import Progress, no_progress
from fcnn.distributed import sharding
from fcnn.models import TRAINING
from fcnn.training.held_out import TUNED_FOLDS, HeldOut
from fcnn.training.linear_probe import LinearProbe
from fcnn.training.pretrained import load_network
from fcnn.training.setup import make_setup
from fcnn.transfer import auto
from fcnn.transfer.cross_validation import can_be_cross_validated, cross_validate_fine_tuning
from fcnn.transfer.earlier import check_untrained, learned_features
from fcnn.transfer.timing import (
    EVALUATION,
    LEAST_EPOCHS,
    Budget,
    Costs,
    duration,
    evaluated_at_the_end,
    measure,
)
from fcnn.utils.errors import UserError
from fcnn.weights import NetworkInfo, published

PREFERRED = ("efficientnet_lite0", "resnet18", "squeezenet1_1", "squeezenet1_0", "cifar10_resnet20")
"""The zoo's networks that a CPU can train, the one for photographs first: the first that is here is taken."""
LARGE, LEAST, MULTIPLE = 128, 96, 32
"""A network that was trained on images of LARGE pixels or more gets its own size, or less where the photographs are
smaller: a multiple of 32, at least LEAST. One that was trained on smaller images gets twice its own size."""
BATCH, HEAD_EPOCHS = 32, 100
"""Images a step; epochs where only the head learns, which take no time."""
MINUTES = 5.0
"""For everything, unless the user says otherwise."""
RATE, WARMUP, CROP = 2e-4, 1.0, 0.6
"""Of fine-tuning by AdamW: the learning rate, its warm-up in epochs, the least share of the area in a random crop. How
they were chosen is in docs/transfer.md."""
MOST_HELD_OUT = 0.25
"""Of the images, for validation."""
PROBED = ("pretrained", "full", "last_block")
"""The strategies that start from a linear probe, or from the head of the run that they go on from."""


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A config and why it is that one."""

    config: Config
    seconds: float
    """That is expected from the beginning to the end, the first look included."""
    choice: dict[str, Any] | None
    """Of `auto.Choice`, to be kept beside the config, with `FineTuning.facts`; None without a linear probe."""
    probe: LinearProbe | None
    """Of the training images, where the run starts from it."""
    held_out: HeldOut | None = None
    """What cross-validated fine-tuning says about the training images."""


@dataclasses.dataclass(frozen=True)
class Look:
    """A first look at a folder: what the decisions need."""

    options: Config
    """Whose values of the fields in `named` hold."""
    named: Collection[str]
    load: Callable[[Config], Dataset]
    """The images of a config, normalized as the weights want it."""
    log: Callable[[str], None]
    budget: Budget
    head_init: str
    """Of the strategies in PROBED."""
    progress: Progress = no_progress


def configure(
    root: Path,
    options: Config,
    named: Collection[str] = (),
    *,
    minutes: float = MINUTES,
    began: float | None = None,
    log: Callable[[str], None] = lambda _: None,
    progress: Progress = no_progress,
) -> Suggestion:
    """Looks at every image of a folder and decides; logs the reasons.

    Args:
      root: folders of images by class, as for `folder:PATH`.
      options: whose values of the fields in `named` hold.
      named: the fields of `options` that the user chose, like "train.epochs", "transfer.weights", "model.name", which
        says what the weights are of; the others are decided here.
      minutes: for everything, the first look included.
      began: when the command did, by `time.perf_counter`; None for now.

    Raises:
      UserError: the folder is no set of images by class, or the weights can't be had.
    """
    budget = Budget(time.perf_counter() if began is None else began, minutes * 60)
    model = published(options.model) if "model.name" in named else None  # a file of PyTorch's doesn't say it
    weights = options.transfer.weights if "transfer.weights" in named else None
    name = weights or _here(model)
    network = load_network(name, model, head=False)
    info = network.info
    chosen = "as you asked" if weights else "the best for photographs of those that are here (fcnn zoo lists others)"
    if options.data.splits is not None:
        is_earlier = Path(name) == Path(options.data.splits).parent
        chosen = (
            "the network of the earlier run" if is_earlier else "training starts over, with the earlier run's splits"
        )
    log(" ".join([f"Weights {name}: {chosen}.", *network.notes]))
    config = _first(root, options, named, name, info, progress)
    size, trained_on = config.data.image_size, info.image_shape[0]
    log(f"Images of {size} x {size} pixels: the network was trained on {trained_on} x {trained_on}.")

    def loaded(config: Config) -> Dataset:
        dataset = load(config.data, log=log, progress=progress)
        return dataset if config.data.mean is not None else dataset.normalized_by(info.mean, info.std)

    head_init = "extend" if options.data.splits is not None and learned_features(name) else "linear_probe"
    return _decide(config, Look(options, named, loaded, log, budget, head_init, progress))


def _here(model: ModelConfig | None) -> str:
    """The first of PREFERRED, of those of a model if one is named, that can be read without a network."""
    names = [name for name in PREFERRED if model is None or zoo.TABLE[name].model.name == model.name]
    for name in names:
        if zoo.is_here(zoo.TABLE[name]):
            return name
    if not names and model is not None:
        raise UserError(f"--model.name {model.name} needs its weights: --transfer.weights FILE")
    raise UserError(f"none of {', '.join(names)} is here; name a network by --transfer.weights")


def _first(
    root: Path, options: Config, named: Collection[str], name: str, info: NetworkInfo, progress: Progress
) -> Config:
    """What depends on nothing but the network and the size of the photographs."""
    chosen = {field: getattr(options.model, field) for field in TRAINING if f"model.{field}" in named}
    model, trained_on = dataclasses.replace(info.model, **chosen), info.image_shape[0]
    if model.name.startswith("squeezenet"):
        model = dataclasses.replace(model, options={**model.options, "linear_head": True})
    size = options.data.image_size
    if size is None and trained_on < LARGE:
        size = 2 * trained_on
    elif size is None:
        side = median_side(root, options.data, progress)
        size = max(min(trained_on, side // MULTIPLE * MULTIPLE), LEAST)
    return Config(
        data=dataclasses.replace(
            options.data,
            name=f"folder:{root}",
            image_size=size,
            value_range=options.data.value_range or info.value_range,
        ),
        model=model,
        transfer=TransferConfig(weights=name, strategy="auto"),
    )


def _decide(config: Config, look: Look) -> Suggestion:
    """The strategy, the probe and the length."""
    first, dataset = config, look.load(config)
    check_untrained(config, dataset)
    strategy, reason = look.options.transfer.strategy, "as you asked"
    is_free, start, folds = strategy == "auto", "linear probe", 1
    if is_free and look.head_init == "extend":
        start = "network of the earlier run"
        strategy, reason = "full", f"all layers are fine-tuned from the {start}"
    elif is_free:
        strategy, reason = auto.by_number(dataset)
        share = 0.0 if strategy == "pretrained" else _held_out(dataset)
        first, dataset = _with_validation(first, look, dataset, share)
        enough = not len(dataset.validation) and len(dataset.train) >= auto.LEAST
        if enough and can_be_cross_validated(dataset, _for(first, look, "full", dataset).train.batch_size):
            strategy, folds = "full", TUNED_FOLDS
    config = _for(first, look, strategy, dataset)
    setup = make_setup(config, dataset, sharding.make_mesh())
    speed = measure(setup, setup.init_state(), steps=strategy not in ("pretrained", "head"))
    costs = Costs.of(setup, speed, folds=folds)
    needed = look.budget.elapsed() + costs.probing
    look.log(f"A first look at {costs.images:,} images: about {duration(needed)} in all{_too_long(look, needed)}.")
    if is_free and strategy == "full" and (lacking := costs.lacking(look.budget)) and _epochs_free(look):
        strategy, reason = "pretrained", f"the {start} alone, as there is no time to fine-tune: {lacking}"
        first, dataset = _with_validation(first, look, dataset, 0.0)
        config = _for(first, look, strategy, dataset)
    probe, estimates = None, {}
    if config.transfer.head_init == "linear_probe":
        probe, expected = auto.probe_of(config, dataset)
        look.log(expected.text())
        if expected.learning_curve:
            look.log(expected.curve_text())
        estimates["estimate"] = dataclasses.asdict(expected)
    costs = Costs.of(make_setup(config, dataset, sharding.make_mesh()), speed, folds=folds)
    if strategy not in ("pretrained", "head"):
        config = _of_length(config, look, costs)
    held_out, setup = None, make_setup(config, dataset, sharding.make_mesh())
    if folds > 1 and strategy == "full":
        look.log(f"Cross-validating fine-tuning: about {duration(costs.cross_validation(setup.total_steps))}.")
        tuned = cross_validate_fine_tuning(config, dataset, look.progress)
        look.log(tuned.text())
        estimates["fine_tuning"] = tuned.facts()
        if tuned.helps:
            held_out, reason = tuned.predictions, f"all layers are fine-tuned from the {start}, on all images"
        else:
            strategy, reason = "pretrained", f"the {start} alone, as fine-tuning was no better in cross-validation"
            config = _for(first, look, strategy, dataset)
            setup = make_setup(config, dataset, sharding.make_mesh())
    look.log(f"Strategy {strategy}: {reason}.")
    seconds = look.budget.elapsed() + Costs.of(setup, speed).training(setup.total_steps)
    choice = {"strategy": strategy, "reason": reason, **estimates} if estimates else None
    return Suggestion(config, seconds, choice, probe, held_out)


def _of_length(config: Config, look: Look, costs: Costs) -> Config:
    """The config with as many epochs as there is time for, evaluated at their end, but for what the user named."""
    epochs = costs.epochs(look.budget) if _epochs_free(look) else config.train.epochs
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=epochs))
    return config if EVALUATION & set(look.named) else evaluated_at_the_end(config, costs.steps_per_epoch)


def _too_long(look: Look, seconds: float) -> str:
    """Returns what is to be said where not even the linear classifier fits the time."""
    most = look.budget.seconds
    return f", more than the {duration(most)} of --minutes, as this part is always done" if seconds > most else ""


def _epochs_free(look: Look) -> bool:
    return not {"train.epochs", "train.steps"} & set(look.named)


def _held_out(dataset: Dataset) -> float:
    """Returns the share of validation images: a tenth, or more where a tenth would be too few to calibrate by."""
    needed = 1.05 * LEAST_IMAGES / (len(dataset.train) + len(dataset.validation))  # classes are rounded down
    return min(max(DataConfig().val_fraction, math.ceil(100 * needed) / 100), MOST_HELD_OUT)


def _with_validation(config: Config, look: Look, dataset: Dataset, share: float) -> tuple[Config, Dataset]:
    """Holds out a share of the images for validation, unless the user wants another or the folder has its own."""
    if "data.val_fraction" in look.named or not len(dataset.validation) or share == config.data.val_fraction:
        return config, dataset
    changed = dataclasses.replace(config, data=dataclasses.replace(config.data, val_fraction=share))
    again = look.load(changed)
    return (changed, again) if len(again.train) != len(dataset.train) else (config, dataset)


def _for(config: Config, look: Look, strategy: str, dataset: Dataset) -> Config:
    """The config with a strategy, and what follows from it but for what the user named."""
    probed, devices = strategy in PROBED, sharding.make_mesh().size
    head_init = look.head_init if probed or look.head_init == "extend" else "random"
    batch = max(min(BATCH, len(dataset.train) // 4) // devices, 1) * devices
    config = dataclasses.replace(
        config,
        transfer=dataclasses.replace(config.transfer, strategy=strategy, head_init=head_init),
        train=TrainConfig(batch_size=batch, eval_batch_size=64),
    )
    if strategy == "head":
        train = dataclasses.replace(config.train, epochs=HEAD_EPOCHS, eval_epochs=HEAD_EPOCHS / 10)
        config = dataclasses.replace(config, optim=OptimConfig(name="adam", learning_rate=1e-3), train=train)
    elif strategy != "pretrained":
        transfer = dataclasses.replace(config.transfer, freeze_batch_norm=probed, backbone_lr_scale=1.0)
        optim = OptimConfig(name="adamw", learning_rate=RATE if probed else 1e-3, warmup_epochs=WARMUP)
        config = dataclasses.replace(
            config,
            transfer=transfer,
            optim=optim,
            augment=AugmentConfig(flip=True, resized_crop=CROP),
            train=dataclasses.replace(
                config.train, epochs=LEAST_EPOCHS
            ),  # until it is known how many there is time for
        )
    return replaced(config, look.options, set(look.named) - {"transfer.strategy"})


def replaced(config: Config, options: Config, named: Collection[str]) -> Config:
    """Returns the config with the values that `options` has of the fields in `named`, like "train.epochs"."""
    parts: dict[str, dict[str, Any]] = {}
    for name in named:
        part, _, field = name.partition(".")
        if field and part not in ("data", "model") and hasattr(getattr(options, part, None), field):
            parts.setdefault(part, {})[field] = getattr(getattr(options, part), field)
    changed: dict[str, Any] = {part: dataclasses.replace(getattr(config, part), **new) for part, new in parts.items()}
    changed |= {name: getattr(options, name) for name in ("seed", "precision") if name in named}
    return dataclasses.replace(config, **changed)
