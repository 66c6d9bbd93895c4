"""A folder of photographs to the config that suits it: whose weights, which image size, what learns, and how long.

    suggestion = configure(Path("photos"), options); suggestion.config, suggestion.reasons

Nothing about the config is special: it is printed, kept in the run's folder, and could have been written by hand.
"""

import dataclasses
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from fcnn import zoo
from fcnn.config import AugmentConfig, Config, ModelConfig, OptimConfig, TrainConfig, TransferConfig, in_steps
from fcnn.data import Dataset, load
from fcnn.data.parallel import Progress, no_progress
from fcnn.training.pretrained import load_network
from fcnn.transfer import auto
from fcnn.utils.errors import UserError
from fcnn.weights import NetworkInfo, published

PREFERRED = ("resnet18", "squeezenet1_1", "squeezenet1_0", "cifar10_resnet20")
"""The zoo's networks that a CPU can train, the one for photographs first: the first that is here is taken."""
SIDE = 128
"""Pixels of a side for a network that was trained on images of 128 or more; others get twice their own size."""
BATCH, STEPS, EPOCHS, HEAD_EPOCHS = 32, 300, 10, 100
"""Images a step; least steps and least epochs where more than a head learns; epochs where not, which take no time."""
COSTS = {"head": 0.0, "pretrained": 0.0, "last_block": 2.0}
"""What a training image costs, in forward passes; a head's are computed once. Where everything learns, 3."""
STARTING = 30.0
"""Seconds for compiling and for the page at the end."""


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A config and why it is that one."""

    config: Config
    reasons: tuple[str, ...]
    seconds: float
    """That training will take, from how long the network took for an image here."""


def configure(
    root: Path,
    options: Config,
    named: Collection[str] = (),
    *,
    log: Callable[[str], None] = lambda _: None,
    progress: Progress = no_progress,
) -> Suggestion:
    """Looks at every image of a folder and decides.

    Args:
      root: folders of images by class, as for `folder:PATH`.
      options: whose `data` is kept, and what `named` names of the rest.
      named: the fields of `options` that the user chose, like "train.epochs", "transfer.weights", "model.name", which
        says what the weights are of; the others are decided here.

    Raises:
      UserError: the folder is no set of images by class, or the weights can't be had.
    """
    model = published(options.model) if "model.name" in named else None  # a file of PyTorch's doesn't say it
    weights = options.transfer.weights if "transfer.weights" in named else None
    name = weights or _here(model)
    network = load_network(name, model, head=False)
    info = network.info
    config = _first(root, options, name, info)
    dataset = load(config.data, log=log, progress=progress).normalized_by(info.mean, info.std)
    choice = auto.choose(config, dataset)
    if options.transfer.strategy != "auto":
        choice = dataclasses.replace(choice, strategy=options.transfer.strategy, reason="as you asked")
    train = {field: getattr(options.train, field) for field in vars(options.train) if f"train.{field}" in named}
    config = _for(config, train, choice.strategy, dataset)
    chosen = "as you asked" if weights else "the best for photographs of those that are here (fcnn zoo lists others)"
    size, trained_on = config.data.image_size, info.image_shape[0]
    return Suggestion(
        config,
        (
            " ".join([f"Weights {name}: {chosen}.", *network.notes]),
            f"Images of {size} x {size} pixels: the network was trained on {trained_on} x {trained_on}.",
            f"Strategy {choice.strategy}: {choice.reason}.",
        ),
        _seconds(config, dataset, choice),
    )


def _here(model: ModelConfig | None) -> str:
    """The first of PREFERRED, of those of a model if one is named, that can be read without a network."""
    names = [name for name in PREFERRED if model is None or zoo.TABLE[name].model.name == model.name]
    for name in names:
        if zoo.is_here(zoo.TABLE[name]):
            return name
    if not names and model is not None:
        raise UserError(f"--model.name {model.name} needs its weights: --transfer.weights FILE")
    raise UserError(f"none of {', '.join(names)} is here; name a network by --transfer.weights")


def _first(root: Path, options: Config, name: str, info: NetworkInfo) -> Config:
    """What doesn't depend on the images."""
    model = info.model
    if model.name.startswith("squeezenet"):
        model = dataclasses.replace(model, options={**model.options, "linear_head": True})
    size = options.data.image_size or min(SIDE, 2 * info.image_shape[0])
    return Config(
        data=dataclasses.replace(
            options.data,
            name=f"folder:{root}",
            image_size=size,
            value_range=options.data.value_range or info.value_range,
        ),
        model=model,
        optim=OptimConfig(name="adam", learning_rate=1e-3, schedule="cosine"),
        transfer=TransferConfig(weights=name, strategy="auto"),
    )


def _for(config: Config, options: dict[str, Any], strategy: str, dataset: Dataset) -> Config:
    """The config with a strategy, and what follows from it but for the fields of `train` that are given."""
    images = len(dataset.train)
    batch = options.get("batch_size", max(min(BATCH, images // 4), 1))
    epochs = HEAD_EPOCHS if strategy == "head" else max(EPOCHS, math.ceil(STEPS / max(images // batch, 1)))
    epochs = options.get("epochs", epochs)
    train = {"epochs": epochs, "batch_size": batch, "eval_batch_size": 64, "eval_epochs": max(epochs // 10, 1)}
    return dataclasses.replace(
        auto.with_strategy(config, strategy),
        augment=AugmentConfig(flip=strategy != "head"),  # without, a head's features are computed once
        train=TrainConfig(**train | options),
    )


def _seconds(config: Config, dataset: Dataset, choice: auto.Choice) -> float:
    """How long training will take."""
    train, looked, settings = len(dataset.train), len(dataset.validation), config.train
    per_epoch = max(train // settings.batch_size, 1)
    steps = in_steps(settings.epochs, settings.steps, per_epoch)
    passes = steps * settings.batch_size * COSTS.get(choice.strategy, 3.0) + 2 * looked + len(dataset.test)
    if choice.strategy == "head":
        passes += train
    else:
        passes += looked * steps / max(in_steps(settings.eval_epochs, settings.eval_steps, per_epoch), 1)
    return STARTING + choice.probe.seconds * passes
