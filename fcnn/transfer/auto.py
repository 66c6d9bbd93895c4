"""`transfer.strategy auto`: a linear probe and, with enough images, fine-tuning from there.

Both are the strategies of LP-FT (Kumar et al. 2022, arXiv:2202.10054): a head that is fitted to the features of the
pretrained network, then everything from there, so that no random head distorts the features first. How good the probe
is, is known by cross-validation before anything is trained; fine-tuning is compared with it on validation at the end,
and the better of the two is kept.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from fcnn.config import Config
from fcnn.data import Dataset
from fcnn.distributed import sharding
from fcnn.report import Console
from fcnn.training.features import linear_features
from fcnn.training.linear_probe import LinearProbe, fit_linear_probe
from fcnn.training.overrides import Overrides
from fcnn.training.run_data import load_for_all
from fcnn.training.setup import make_setup
from fcnn.training.start import start_state
from fcnn.training.workdir import read_choice
from fcnn.transfer.earlier import learned_features
from fcnn.transfer.estimate import Estimate, estimate

FEW = 500
"""With fewer training and validation images than this, the linear probe is the result: fine-tuning needs LEAST_IMAGES
for validation, which choose between the two and calibrate probabilities, and they do more good in the probe."""


LEAST = 40
"""With fewer images than this, not even cross-validation says whether fine-tuning helps (`fcnn train PHOTOS`)."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A strategy and why."""

    strategy: str
    """pretrained, which is the linear probe alone, or full from there."""
    reason: str
    estimate: Estimate


class Decision(NamedTuple):
    """What `auto` has become."""

    config: Config
    choice: dict[str, Any] | None = None
    """Of `Choice`, to be kept beside the config; None where a strategy was named."""
    probe: LinearProbe | None = None
    """Of the training images, if it was fitted here."""


def probe_of(config: Config, dataset: Dataset, overrides: Overrides | None = None) -> tuple[LinearProbe, Estimate]:
    """Fits the linear probe that a run of this config starts from, and estimates how good it is.

    Args:
      config: whose `transfer.weights` are meant, whatever its strategy.
      dataset: normalized as the weights want it; only its training split is looked at.
      overrides: what the user passes in place of what the config names.

    Raises:
      UserError: the weights don't fit, their head isn't linear in features, or there are fewer images than folds.
    """
    transfer = dataclasses.replace(config.transfer, strategy="full", head_init="random", compare=None)
    train = dataclasses.replace(config.train, batch_size=sharding.make_mesh().size, grad_accum_steps=1)
    config = dataclasses.replace(config, transfer=transfer, train=train)
    setup = make_setup(config, dataset, sharding.make_mesh(), overrides=overrides)
    features = linear_features(setup, start_state(setup, lambda _: None).variables)
    probe = fit_linear_probe(
        features.images, features.labels, len(dataset.classes), dataset.groups, class_weights=dataset.class_weights
    )
    return probe, estimate(probe, features.images, dataset.groups)


def decide(
    config: Config, console: Console, workdir: Path | None = None, overrides: Overrides | None = None
) -> Decision:
    """Puts a strategy in place of `auto`, and logs why; a config that names one stays as it is.

    Args:
      workdir: the run's folder, whose choice holds if it has one.
      overrides: as for `probe_of`.

    Raises:
      UserError: as for `probe_of`, or the images can't be loaded.
    """
    if config.transfer.strategy != "auto":
        return Decision(config)
    choice, probe = None if workdir is None else read_choice(workdir), None
    if choice is None:
        dataset = load_for_all(config, workdir, console, overrides.dataset if overrides else None)
        probe, expected = probe_of(config, dataset, overrides)
        strategy, reason = by_number(dataset)
        choice = dataclasses.asdict(Choice(strategy, reason, expected))
        console.log(expected.text())
        if (weights := config.transfer.weights) is not None and learned_features(weights):
            console.log(f"Note: that is too high if {weights} was trained on some of these images.")
    console.log(f"Strategy {choice['strategy']}: {choice['reason']}.")
    return Decision(with_strategy(config, choice["strategy"]), choice, probe)


def by_number(dataset: Dataset) -> tuple[str, str]:
    """Returns the strategy that suits the number of images, and why."""
    images = len(dataset.train) + len(dataset.validation)
    if images < FEW:
        return "pretrained", f"the linear probe alone, as {images:,} images are too few to fine-tune and compare"
    return "full", "all layers are fine-tuned from the linear probe; the better of the two on validation is kept"


def with_strategy(config: Config, strategy: str) -> Config:
    """Returns the config with one of the strategies of `Choice`."""
    transfer = dataclasses.replace(
        config.transfer, strategy=strategy, head_init="linear_probe", freeze_batch_norm=strategy == "full"
    )
    return dataclasses.replace(config, transfer=transfer)
