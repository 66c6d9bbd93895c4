"""`transfer.strategy auto`: which strategy suits the images, by how many there are and how well the frozen network
already distinguishes them.

The rule is the one that courses teach (Stanford's CS231n, "Transfer Learning"): with few images like those that the
network was trained on, train only a new head; with few that are unlike them, the last stage, too; with many,
everything. How alike they are is measured.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from fcnn.config import Config
from fcnn.data import Dataset, evenly_spaced
from fcnn.distributed import sharding
from fcnn.report import Console
from fcnn.training.features import compile_features
from fcnn.training.run_data import load_for_all
from fcnn.training.setup import make_setup
from fcnn.training.start import start_state
from fcnn.training.workdir import read_choice
from fcnn.utils.errors import UserError

LARGE = 1000
"""From so many training images on, everything learns. A round number: not fitted to anything."""
SIMILAR = 0.5
"""From this similarity on (`Probe.similarity`), the head alone learns from few images. Half-way from chance to no
error; not fitted either. For comparison, with 100 training images at 32 pixels: digits on a ResNet-20 with 60 % on
CIFAR-10, 0.53; five kinds of flowers on one with 91.7 %, 0.26 (44.0 % by cross-validation), where last_block
got 52.7 % of the test images (n = 1)."""
PROBED = 1000
"""Training images that the probe looks at, evenly spread over the classes."""
FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Probe:
    """How well a linear classifier on a frozen network's features does, by cross-validation on training images."""

    accuracy: float
    """Of images that it wasn't fitted to, 0 to 1."""
    chance: float
    """The share of the most frequent class."""
    count: int
    """Images that were looked at."""
    seconds: float
    """That computing one image's features took, compiling left out."""

    @property
    def similarity(self) -> float:
        """How far the accuracy is on the way from chance to 1."""
        return max(self.accuracy - self.chance, 0) / max(1 - self.chance, 1e-9)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A strategy and why."""

    strategy: str
    reason: str
    probe: Probe


def choose(config: Config, dataset: Dataset) -> Choice:
    """Decides between head, last_block and full.

    Args:
      config: whose `transfer.weights` are meant, whatever its strategy.
      dataset: normalized as the weights want it; only its training split is looked at.

    Raises:
      UserError: the weights don't fit, or there are fewer images than folds.
    """
    probe = measure(config, dataset)
    images, alike = len(dataset.train), probe.similarity >= SIMILAR
    strategy = "full" if images >= LARGE else "head" if alike else "last_block"
    reason = (
        f"{images:,} training images, which is {'many' if images >= LARGE else 'few'}; on the frozen network a linear "
        f"classifier gets {100 * probe.accuracy:.1f} % of those it hasn't seen (chance {100 * probe.chance:.1f} %), so "
        f"they are {'like' if alike else 'unlike'} the ones that it was trained on"
    )
    return Choice(strategy, reason, probe)


def measure(config: Config, dataset: Dataset) -> Probe:
    """The probe alone."""
    if len(dataset.train) < 2 * FOLDS:
        raise UserError(f"transfer.strategy auto needs at least {2 * FOLDS} training images, not {len(dataset.train)}")
    by_class = np.argsort(dataset.train.labels, kind="stable")
    part = dataset.train.take(np.sort(by_class[evenly_spaced(len(by_class), PROBED)]))
    transfer = dataclasses.replace(config.transfer, strategy="head", compare=None)
    train = dataclasses.replace(config.train, batch_size=sharding.make_mesh().size, grad_accum_steps=1)
    setup = make_setup(dataclasses.replace(config, transfer=transfer, train=train), dataset, sharding.make_mesh())
    variables = start_state(setup, lambda _: None).variables
    compute = compile_features(setup, variables, part)
    began = time.perf_counter()
    features = compute().images
    seconds = (time.perf_counter() - began) / len(part)
    features = features.mean((1, 2)) if features.ndim == 4 else features.reshape(len(part), -1)
    chance = np.bincount(part.labels).max() / len(part)
    return Probe(_cross_validated(features, part.labels), float(chance), len(part), seconds)


def _cross_validated(features: np.ndarray, labels: np.ndarray) -> float:
    """The accuracy of a logistic regression on features (N, D), each image predicted by one that hasn't seen it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = np.empty(len(labels), int)
    folds[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS  # every class in proportion
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    return float(np.mean(cross_val_predict(classifier, features, labels, cv=PredefinedSplit(folds)) == labels))


def decide(config: Config, console: Console, workdir: Path | None = None) -> tuple[Config, dict[str, Any] | None]:
    """Returns the config with a strategy in place of `auto`, and what to keep of the choice; the config as it is, and
    None, if it names a strategy.

    Args:
      workdir: the run's folder, whose choice holds if it has one.

    Raises:
      UserError: as for `choose`, or the images can't be loaded.
    """
    if config.transfer.strategy != "auto":
        return config, None
    choice = None if workdir is None else read_choice(workdir)
    if choice is None:
        choice = dataclasses.asdict(choose(config, load_for_all(config, workdir, console)))
    console.log(f"Strategy {choice['strategy']}: {choice['reason']}.")
    return with_strategy(config, choice["strategy"]), choice


def with_strategy(config: Config, strategy: str) -> Config:
    """Returns the config with a strategy in place of `auto`."""
    return dataclasses.replace(config, transfer=dataclasses.replace(config.transfer, strategy=strategy))
