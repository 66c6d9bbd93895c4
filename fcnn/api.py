"""What `import fcnn` offers beside its folders: create_model, train, evaluate."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from fcnn import models, zoo
from fcnn.config import Config
from fcnn.data import Dataset
from fcnn.report import Console
from fcnn.report.records import Record
from fcnn.runtime.ready import get_ready
from fcnn.training import trainer
from fcnn.training.evaluate import evaluate as evaluate_run
from fcnn.training.metrics import LogitsLoss
from fcnn.training.overrides import Overrides
from fcnn.training.pretrained import load_network
from fcnn.training.step import Preprocess
from fcnn.training.workdir import fresh
from fcnn.transfer import auto
from fcnn.utils.errors import UserError
from fcnn.weights import Network


@overload
def create_model(
    name: str, *, num_classes: int | None = None, pretrained: Literal[False] = False, **fields: Any
) -> models.Classifier: ...


@overload
def create_model(
    name: str, *, num_classes: int | None = None, pretrained: Literal[True] | str, **fields: Any
) -> tuple[models.Classifier, dict[str, Any]]: ...


def create_model(
    name: str, *, num_classes: int | None = None, pretrained: bool | str = False, **fields: Any
) -> models.Classifier | tuple[models.Classifier, dict[str, Any]]:
    """Creates an architecture by name, and with `pretrained` its weights, too.

        model, variables = fcnn.create_model("resnet50", pretrained=True)
        logits = model.apply(variables, images, train=False)  # images (B, H, W, C), normalized

    Args:
      name: the architecture; `fcnn.list_models()` returns all names.
      num_classes: outputs; None for those of the weights, or of the paper. With another number than the weights', the
        classifier is a new one.
      pretrained: True for the most accurate weights of this architecture in `fcnn.zoo.TABLE`, downloaded if need be; or
        the name of one there, a file of weights, or a run's folder.
      **fields: of `fcnn.models.Classifier` and of the architecture's own class.

    Returns:
      The Linen module; with `pretrained`, a pair of it and its variables, {"params": ..., "batch_stats": ...}.

    Raises:
      UserError: no such architecture, or no weights of it.
    """
    family = models.family(name)
    if not pretrained:
        return models.create(name, num_classes=family.classes if num_classes is None else num_classes, **fields)
    if pretrained is True:
        pretrained = zoo.most_accurate(name).name
    network = load_network(pretrained, head=num_classes is None)
    info = network.info
    if info.module or info.model.name != name:
        raise UserError(f"{pretrained} has the weights of {info.name}, not of {name}")
    for note in network.notes:
        warnings.warn(f"{pretrained}: {note}", stacklevel=2)
    count = len(info.classes) if num_classes is None else num_classes
    model = models.create(name, num_classes=count, **(models.config_fields(info.model) | fields))
    _check_same_function(network, fields, pretrained)
    variables = dict(network.variables)
    if count != len(info.classes):
        images = jnp.zeros((1, *info.image_shape[:2], len(info.mean)))
        drawn = jax.jit(lambda key: model.init(key, images, train=False))(jax.random.key(0))
        variables["params"] = {**variables["params"], "head": drawn["params"]["head"]}
    return model, variables


def _check_same_function(network: Network, fields: dict[str, Any], source: str) -> None:
    """UserError if a field makes the weights compute another function than that which they were trained as."""
    trained, unsaid = network.create(), {"epsilon", "padding"} if network.notes else set()
    for field in fields.keys() - models.TRAINING - {"dtype", "frozen", "momentum", "start"} - unsaid:
        if (was := getattr(trained, field)) != fields[field]:
            raise UserError(f"{source} was trained with {field} {was}, not {fields[field]}")


def train(
    config: Config,
    *,
    workdir: str | Path | None = None,
    model: nn.Module | None = None,
    dataset: Dataset | None = None,
    optimizer: optax.GradientTransformation | None = None,
    augment: Preprocess | None = None,
    loss: LogitsLoss | None = None,
    callbacks: Sequence[trainer.Callback] = (),
    quiet: bool = False,
) -> Record:
    """Trains a network to the end of its run, from the newest checkpoint in `workdir` if there is one.

        config = Config(train=TrainConfig(epochs=5))
        metrics = fcnn.train(config, workdir="runs/mine", model=MyNet(num_classes=10), optimizer=optax.lion(1e-4))

    Args:
      workdir: the run's folder; None for a new one, runs/run-001 and so on.
      model: a Linen module with `__call__(images, train: bool) -> logits (B, classes)`; None for `config.model`.
      dataset: as `fcnn.data.from_arrays` or `fcnn.data.load` gives it; None for `config.data`.
      optimizer: an Optax transformation; None for `config.optim`, of which l1, l2 and clip_norm belong to it.
      augment: `(key, batch) -> batch`, pure, of uint8 images in {"image", "label", "mask", "index"}; None for
        `config.augment`.
      loss: `(logits, labels) -> (B,)`; None for the cross-entropy, which metrics report in any case.
      callbacks: each is called with every record that is written, a dict; what it raises ends the run, which continues
        by the same call.
      quiet: whether to print nothing.

    Returns:
      The test record: "top1", "top5", "loss", "interval", "recall", ... (see `fcnn.training.trainer.train`).

    Raises:
      UserError: something doesn't fit; the message says what.
      fcnn.training.metric_log.NonFinite: the loss or a gradient is not finite.
    """
    get_ready()
    console = Console(quiet=quiet)
    folder = fresh(Path("runs"), "run") if workdir is None else Path(workdir)
    overrides = Overrides(model=model, dataset=dataset, optimizer=optimizer, augment=augment, loss=loss)
    config, choice, probe = auto.decide(config, console, folder, overrides)
    return trainer.train(config, folder, console, overrides=overrides, callbacks=callbacks, choice=choice, probe=probe)


def evaluate(
    workdir: str | Path, split: str = "test", *, model: nn.Module | None = None, dataset: Dataset | None = None
) -> dict[str, Any]:
    """Evaluates a run's best weights on a split, "train", "validation" or "test"; see `fcnn.training.evaluate`.

    Args:
      model, dataset: those that the run was trained with, if they were passed.
    """
    get_ready()
    overrides = Overrides(model=model, dataset=dataset)
    return evaluate_run(Path(workdir), split, Console(quiet=True), overrides=overrides)
