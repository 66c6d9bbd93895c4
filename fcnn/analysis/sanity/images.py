"""What can be wrong with the images and labels before any network sees them."""

import functools
from pathlib import Path

import jax
import numpy as np

from fcnn.analysis.sanity.result import CheckResult, check, skip
from fcnn.analysis.sanity.trial import augmentation, compile_once, stored
from fcnn.data import evenly_spaced
from fcnn.data.show import contact_sheet
from fcnn.report.files import png
from fcnn.training.setup import TrainSetup
from fcnn.utils.batch import Batch
from fcnn.utils.files import write_bytes
from fcnn.utils.text import join, printable

CHECKED = 1000
"""Training images that are checked, evenly spread."""
COMPARED = 20_000
"""Images of a split that are compared with those of another."""
SURE = 4.0
"""Standard errors beyond chance that leave no doubt."""
_SIDE = 16  # pixels to which images are averaged before they are compared


def check_inputs(setup: TrainSetup) -> CheckResult:
    """What the network sees has mean 0 and standard deviation 1, roughly, with and without augmentation."""
    batch, normalize = stored(setup, evenly_spaced(len(setup.dataset.train), CHECKED)), setup.normalize()

    @compile_once
    def inputs(batch: Batch) -> tuple[jax.Array, jax.Array]:
        return normalize(batch)["image"], normalize(augmentation(setup)(jax.random.key(0), batch))["image"]

    plain, augmented = (np.asarray(images, np.float64) for images in inputs(batch))
    mean, std = plain.mean(axis=(0, 1, 2)), plain.std(axis=(0, 1, 2))
    finite = bool(np.isfinite(augmented).all())
    # Other images than those that the weights were trained on have another mean; it must only not be far out.
    transfer = setup.config.transfer
    of_weights = transfer.weights is not None and transfer.strategy != "scratch" and setup.config.data.mean is None
    center, low, high = (3.0, 0.2, 3.0) if of_weights else (0.25, 0.7, 1.4)
    ok = bool((np.abs(mean) < center).all() and (std > low).all() and (std < high).all())
    normalization = "the weights' normalization" if of_weights else "normalization"
    reason = f"mean {_numbers(mean)}, standard deviation {_numbers(std)} by channel after {normalization}; augmented "
    return check(
        "inputs",
        ok and finite and 0.2 < augmented.std() < 5,
        reason + (f"{augmented.mean():.2f} and {augmented.std():.2f}" if finite else "not finite"),
        "leave data.mean and data.std out to have them measured, or give those of these images on a scale of 0 to 1; "
        "look at the contact sheet for images that are black or washed out",
    )


def check_classes(setup: TrainSetup) -> CheckResult:
    """The network has an output for each class, and each class has images."""
    labels, names = setup.dataset.train.labels, setup.dataset.classes
    images = jax.ShapeDtypeStruct((1, *setup.dataset.image_shape), "float32")
    variables = setup.abstract_state().variables
    outputs = jax.eval_shape(functools.partial(setup.model.apply, train=False), variables, images).shape[-1]
    counts = np.bincount(labels, minlength=outputs)
    empty = [printable(names[i]) if i < len(names) else str(i) for i in np.flatnonzero(counts == 0)]
    missing = f"without a training image: {join(empty)}" if empty else f"{counts.min():,} images or more of each"
    return check(
        "classes",
        outputs == len(names) == len(counts) and not empty,
        f"{outputs} outputs, {len(names)} classes, labels {labels.min()} to {labels.max()}; {missing}",
        "make the number of outputs that of the classes, and number labels from 0 without a gap",
    )


def check_order(setup: TrainSetup) -> CheckResult:
    """Batches are drawn from all over the split, in another order each epoch."""
    if not setup.total_steps:
        return skip("order", "nothing is trained")
    labels, batches = setup.dataset.train.labels, setup.sampler()
    steps = range(setup.steps_per_epoch)
    first, second = (np.concatenate([batches.at(e * len(steps) + s)[1] for s in steps]) for e in (0, 1))
    chance, pairs = _chance(labels), len(first) - 1
    alike = float((labels[first][1:] == labels[first][:-1]).mean())
    same, again = bool((first == second).all()), len(first) - len(np.unique(first))
    limit = chance + 2 * SURE * np.sqrt(chance * (1 - chance) / pairs)
    return check(
        "order",
        not same and not again and alike <= limit,
        f"{100 * alike:.0f} % of neighbors in an epoch share a class, by chance {100 * chance:.0f} %; the next "
        f"epoch's order is {'the same' if same else 'another'}; {again} images twice in an epoch",
        "shuffle the training images anew for each epoch",
    )


def check_leak(setup: TrainSetup) -> CheckResult:
    """No image to choose the best epoch by is one that is trained on. The test split stays unread."""
    if not len(setup.dataset.validation):
        return skip("leak", "there is no validation split")
    train, validation = (
        {image.tobytes() for image in split.read(evenly_spaced(len(split), COMPARED))}
        for split in (setup.dataset.train, setup.dataset.validation)
    )
    both = len(train & validation)
    return check(
        "leak",
        both <= 0.005 * len(validation),
        f"{both} of {len(validation):,} validation images are training images too, pixel for pixel",
        "cut the splits so that an image and its duplicates stay on one side; `fcnn data show folder:PATH` names them",
    )


def check_labels(setup: TrainSetup) -> CheckResult:
    """Images that look alike share a label more often than chance would have it."""
    same, chance, z = _agreement(setup, augmented=False)
    return check(
        "labels",
        z >= SURE,
        f"the nearest other image has the same label in {100 * same:.0f} % of cases, by chance {100 * chance:.0f} %",
        "labels and images are probably in different orders: look at the contact sheet, and at how labels are read. "
        "(Where pixels alone don't show the class, only training can decide)",
    )


def check_augmentation(setup: TrainSetup) -> CheckResult:
    """An augmented image still looks more like those of its class than chance would have it."""
    if not setup.total_steps:
        return skip("augmentation", "nothing is trained")
    same, chance, z = _agreement(setup, augmented=True)
    plain = _agreement(setup, augmented=False)[0]
    return check(
        "augmentation",
        z >= SURE and same - chance >= 0.2 * (plain - chance),
        f"the nearest other image of an augmented one has its label in {100 * same:.0f} % of cases, without "
        f"augmentation in {100 * plain:.0f} %, by chance {100 * chance:.0f} %; see contact_sheet.png",
        "augment less, until you recognize the classes on the contact sheet yourself",
    )


def draw_contact_sheet(setup: TrainSetup, folder: Path) -> None:
    """Writes `contact_sheet.png`: training images of each class, as stored and as the run augments them."""
    sheet = contact_sheet(setup.dataset, augmentation(setup), setup.config.seed)
    write_bytes(folder / "contact_sheet.png", png(sheet))


def _agreement(setup: TrainSetup, *, augmented: bool) -> tuple[float, float, float]:
    """How often an image's nearest neighbor among other training images has its label, the same by chance, and the
    difference in standard errors."""
    batch = stored(setup, evenly_spaced(len(setup.dataset.train), CHECKED))
    queries = compile_once(augmentation(setup))(jax.random.key(0), batch) if augmented else batch
    labels, query_labels = np.asarray(batch["label"]), np.asarray(queries["label"])
    if query_labels.ndim == 2:  # of a mixture
        query_labels = query_labels.argmax(axis=1)
    a, b = (_small(np.asarray(images["image"])) for images in (queries, batch))
    distance = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    np.fill_diagonal(distance, np.inf)  # an image isn't its own neighbor
    same, chance = float((labels[distance.argmin(axis=1)] == query_labels).mean()), _chance(labels)
    return same, chance, (same - chance) / max(np.sqrt(chance * (1 - chance) / len(labels)), 1e-9)


def _chance(labels: np.ndarray) -> float:
    """How often two images share a label by chance."""
    return float(((np.bincount(labels) / len(labels)) ** 2).sum())


def _small(images: np.ndarray) -> np.ndarray:
    """Images averaged over blocks to about _SIDE pixels, (B, features) float32."""
    images = images.astype(np.float32) / 255
    count, height, width, channels = images.shape
    k = max(min(height, width) // _SIDE, 1)
    images = images[:, : height // k * k, : width // k * k]
    return images.reshape(count, height // k, k, width // k, k, channels).mean(axis=(2, 4)).reshape(count, -1)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in values)
