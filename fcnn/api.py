"""What `import fcnn` offers beside its folders: train, evaluate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import optax

from fcnn.config import Config
from fcnn.data import Dataset
from fcnn.report import Console
from fcnn.report.records import Record
from fcnn.runtime.ready import get_ready
from fcnn.training import trainer
from fcnn.training.custom import Custom
from fcnn.training.evaluate import evaluate as evaluate_run
from fcnn.training.metrics import LogitsLoss
from fcnn.training.step import Preprocess
from fcnn.training.workdir import fresh
from fcnn.transfer import auto


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
    console = Console(silent=quiet)
    folder = fresh(Path("runs"), "run") if workdir is None else Path(workdir)
    custom = Custom(model=model, dataset=dataset, optimizer=optimizer, augment=augment, loss=loss)
    config, choice = auto.decide(config, console, folder)
    return trainer.train(config, folder, console, custom=custom, callbacks=callbacks, choice=choice)


def evaluate(
    workdir: str | Path, split: str = "test", *, model: nn.Module | None = None, dataset: Dataset | None = None
) -> dict[str, Any]:
    """Evaluates a run's best weights on a split, "train", "validation" or "test"; see `fcnn.training.evaluate`.

    Args:
      model, dataset: those that the run was trained with, if they were passed.
    """
    get_ready()
    custom = Custom(model=model, dataset=dataset)
    return evaluate_run(Path(workdir), split, Console(silent=True), custom=custom)
