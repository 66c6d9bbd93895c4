"""What can't work as it was meant in a config, with the data that it is for: notes before the first step."""

import numpy as np

from fcnn.training.setup import TrainSetup
from fcnn.utils.text import join, printable


def config_notes(setup: TrainSetup) -> list[str]:
    """Returns what a person should know, a sentence each."""
    found = [*_classes(setup), *(_length(setup) if setup.total_steps else [])]
    if setup.overrides.optimizer is None:
        found += _decay(setup)
    if setup.overrides.augment is None:
        found += _augmentation(setup)
    return found


def _classes(setup: TrainSetup) -> list[str]:
    """Which classes a split lacks, and whether nothing is held out that should be."""
    data, found = setup.dataset, []
    share = setup.config.data.val_fraction
    if share > 0 and not len(data.validation) and setup.overrides.dataset is None:
        found.append(f"--data.val-fraction {share:g} holds out no image: the last epoch is the result, not the best")
    for name, split, means in (
        ("training", data.train, "they can't be learned"),
        ("validation", data.validation, "the best epoch is chosen without them"),
        ("test", data.test, "nothing is known of them in the end"),
    ):
        missing = np.flatnonzero(data.counts(split) == 0)
        if len(split) and len(missing):
            classes = join(printable(data.classes[i]) for i in missing)
            count = f"{len(missing):,} of {len(data.classes):,} classes"
            found.append(f"the {len(split):,} {name} images have none of {count} ({classes}): {means}")
    return found


def _length(setup: TrainSetup) -> list[str]:
    """What takes longer than the run."""
    train, total, found = setup.config.train, setup.total_steps, []
    if total <= setup.warmup:
        found.append(
            f"the warm-up takes {setup.warmup:,} steps and the run has {total:,}: the learning rate never reaches its "
            "peak. Lower --optim.warmup-epochs or train longer."
        )
    if train.ema_decay is not None and (span := 1 / (1 - train.ema_decay)) > total:
        found.append(
            f"--train.ema-decay {train.ema_decay:g} averages over the last {span:,.0f} steps and the run has {total:,}"
            f": the effective decay reaches only {(1 + total) / (10 + total):.3g}"
        )
    named = train.eval_steps is not None or train.eval_epochs != type(train).eval_epochs
    if named and setup.eval_every > total and len(setup.dataset.validation):
        found.append(f"{setup.eval_every:,} steps between evaluations: the run has {total:,}, and one evaluation")
    if train.patience is not None and setup.patience >= total:
        found.append(f"--train.patience {train.patience:g} is as long as the run, which can't stop early")
    if train.checkpoint_steps is not None and train.checkpoint_steps >= total:
        found.append(f"--train.checkpoint-steps {train.checkpoint_steps:,} has no effect: the run has {total:,} steps")
    return found


def _decay(setup: TrainSetup) -> list[str]:
    """Whether a step takes a weight beyond zero."""
    optim = setup.config.optim
    share = optim.learning_rate * (optim.weight_decay or 0)
    if share < 1:
        return []
    return [
        f"--optim.learning-rate times --optim.weight-decay is {share:g}: from 1 on, each step takes every weight to "
        "zero or beyond"
    ]


def _augmentation(setup: TrainSetup) -> list[str]:
    """What leaves nothing of an image."""
    augment, found = setup.config.augment, []
    height, width = setup.dataset.train.shape[:2]
    size = min(height, width)
    if augment.crop_padding >= size:
        found.append(
            f"--augment.crop-padding {augment.crop_padding} makes crops with nothing of the {height} x {width} image"
        )
    if augment.cutout >= size:
        found.append(f"--augment.cutout {augment.cutout} can cover the whole image, {height} x {width}")
    return found
