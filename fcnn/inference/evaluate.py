"""The accuracy of any trained network on any labelled images: a run's, a file's, the zoo's or an exported program's.

Images are read as `fcnn.inference.predict` reads them, and classes are matched by name. Of a network that knows more
classes than the images have, the logits of those that they have are compared, as timm does for the subsets of ImageNet.
"""

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fcnn.calibration import calibration_report
from fcnn.config import DataConfig
from fcnn.data.audit import describe_range, measure_range
from fcnn.data.decode import BadImage, ignore_warnings
from fcnn.data.folder import scan_folder
from fcnn.data.manifest import SPLITS, Manifest
from fcnn.data.parallel import each, no_progress
from fcnn.data.source import open_prepared
from fcnn.data.stock import read_tfds, varied_sizes
from fcnn.inference.predict import fitted, least_side, load_classifier, read_image
from fcnn.report import Console
from fcnn.report.records import Record
from fcnn.training import workdir as folder
from fcnn.training.evaluate import class_metrics, means
from fcnn.training.metrics import ClassMetrics, compute_class_metrics, compute_metrics
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable
from fcnn.weights import NetworkInfo, match_classes
from fcnn.zoo import TABLE

BATCH = 64
"""Images at once."""
ALL = "all"


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Images with a class each, read when they are needed."""

    split: str
    """Of the set's own splits, or ALL."""
    classes: tuple[str, ...]
    labels: np.ndarray
    """(N,) int32, indices of `classes`."""
    read: Callable[[int], np.ndarray]
    """The i-th image as the network takes it, (H, W, C) uint8."""
    hashes: tuple[str, ...] = ()
    """Of the files, where there are any."""


def evaluate_images(
    network: str, data: DataConfig, split: str | None, console: Console, *, module: nn.Module | None = None
) -> Record:
    """Evaluates a network on labelled images that need not be those of its run.

    Args:
      network: as for `load_classifier`.
      data: which images; of its fields `name`, `manual_dir`, `on_bad_image` and `value_range` count.
      module: the user's own Linen module, for a run or a file of one.
      split: one of the set's own splits, or "all"; None for test, else validation, else all.

    Returns:
      {"kind": "evaluation", "network", "weights" (`NetworkInfo.weights`), "data", "split", "count", "loss", "top1",
      "top5", "interval", "precision", "recall", "f1", "images", "macro" (as `class_metrics` has them),
      "num_classes" (that are compared), "network_classes", "top1_all_classes" (among all classes of the network),
      "trained_on" (how many of the images the run was trained on, by content; None if that is not known)}, and of a
      network with a calibration "calibration" (`calibration_report`, among all classes of the network).

    Raises:
      UserError: there is no such network, no such images, or the network doesn't know their classes.
    """
    info, classify = load_classifier(network, module=module)
    load = _folder if data.name.startswith("folder:") else _tfds
    images = load(info, data, split, console)
    columns = _columns(info, images.classes, network, data.name)
    if not info.named:
        console.log(f"{network} knows its classes by number: folder 0 is its first output, 1 its second, ...")
    sums, outputs, hits = [], [], 0.0
    # Among a single class every answer would be right: then all of the network's are compared.
    among, names = (columns, images.classes) if len(columns) > 1 else (np.arange(len(info.classes)), info.classes)
    classes = np.arange(len(columns)) if len(columns) > 1 else columns
    measured = _measure(among)
    starts = range(0, len(images.labels), BATCH)
    for start in console.progress(starts, "evaluating", len(starts)):
        places = np.arange(start, min(start + BATCH, len(images.labels)))
        batch = np.zeros((min(BATCH, len(images.labels)), *info.image_shape), np.uint8)
        with ignore_warnings():
            batch[: len(places)] = each(images.read, places.tolist(), "reading", no_progress)
        labels = np.resize(classes[images.labels[places]], len(batch))
        output = classify(batch)
        one, among_all = measured(output.logits, labels, np.arange(len(batch)) < len(places))
        sums.append(jax.device_get(one))
        hits += float(among_all)
        if info.calibration.images:
            outputs.append([np.asarray(array)[: len(places)] for array in output if array is not None])
    details = class_metrics(sums, names)
    return {
        "kind": "evaluation",
        "network": network,
        "weights": info.weights,
        "data": data.name,
        "split": images.split,
        "count": len(images.labels),
        **means(sums, expected=len(images.labels)),
        "interval": details["interval"],
        **{
            key: {name: details[key][name] for name in images.classes}
            for key in ("precision", "recall", "f1", "images")
        },
        "macro": details["macro"],
        "num_classes": len(among),
        "network_classes": len(info.classes),
        "top1_all_classes": hits / len(images.labels),
        "trained_on": None if network in TABLE else _trained_on(Path(network).expanduser(), data, images),
        **_calibration(info, outputs, columns[images.labels]),
    }


def _calibration(info: NetworkInfo, outputs: list[list[np.ndarray]], labels: np.ndarray) -> dict[str, Any]:
    """How good the probabilities of all classes are, of a network that has a calibration."""
    if not outputs:
        return {}
    arrays = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    return {"calibration": calibration_report(info.calibration, arrays[0], labels, *arrays[1:])}


def _measure(among: np.ndarray) -> Callable[..., tuple[ClassMetrics, Any]]:
    """The metrics of a batch among some of the network's classes, which the labels number, and the top-1 hits among all
    of them."""

    @jax.jit
    def measured(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> tuple[ClassMetrics, jax.Array]:
        among_all = compute_metrics(logits, jnp.asarray(among)[labels], mask).top1
        return compute_class_metrics(logits[:, among], labels, mask), among_all

    return measured


def _columns(info: NetworkInfo, classes: tuple[str, ...], network: str, data: str) -> np.ndarray:
    """Which output of the network belongs to each class, (classes,) int."""
    indices = match_classes(info.names or info.classes, classes)  # a folder may be named by an output's number
    unmatched = [name for name, index in zip(classes, indices, strict=True) if index is None]
    if not unmatched:
        return np.asarray(indices, int)
    what = f"{len(unmatched):,} of the {len(classes):,} classes of {data} ({join(map(printable, unmatched))})"
    if not info.named:
        raise UserError(
            f"{network} knows its {len(info.classes):,} classes by number alone, and {what} are no such numbers: "
            "fcnn convert FILE --model NAME --labels LABELS writes it with the names of its classes"
        )
    lower = {name.lower(): name for name in info.classes}
    near = {name: difflib.get_close_matches(name.lower(), lower, n=1) for name in unmatched[:3]}
    hints = [f"{printable(name)} may be {printable(lower[one[0]])}" for name, one in near.items() if one]
    raise UserError(
        f"{network} doesn't know {what}; its {len(info.classes):,} classes are "
        f"{join(map(printable, info.classes), 10)}"
        f"\nClasses are matched by name: rename or remove the others{'; ' if hints else ''}{', '.join(hints)}"
    )


def _folder(info: NetworkInfo, data: DataConfig, split: str | None, console: Console) -> Labelled:
    """The images of a folder."""
    root = Path(data.name.removeprefix("folder:")).expanduser()
    scan = scan_folder(root, data.on_bad_image, console.progress)
    if scan.bad:
        console.log(f"Left out {len(scan.bad)} files that can't be read: {join(scan.skipped, 3)}")
    own = [name for name in SPLITS if any(entry.split == name for entry in scan.entries)]
    split = _choose(split, own, data.name)
    selected = [i for i, entry in enumerate(scan.entries) if split in (ALL, entry.split)]
    entries = [scan.entries[i] for i in selected]
    there = {entry.name for entry in entries}
    classes = tuple(name for name in scan.layout.classes if name in there)
    index = {name: i for i, name in enumerate(classes)}
    chosen_range = data.value_range or info.value_range
    used = chosen_range or measure_range(scan.entries, scan.infos)
    if data.value_range or any(info.value_range or info.truncated for info in scan.infos):
        for note in describe_range(scan.entries, scan.infos, used, measured=chosen_range is None):
            console.log(f"Note: {note}")
    info = dataclasses.replace(info, value_range=used)

    def read(i: int) -> np.ndarray:
        try:
            return read_image(root / entries[i].path, info)
        except (BadImage, OSError) as error:
            raise UserError(f"{printable(entries[i].path)} can't be read: {error}") from None

    labels = np.asarray([index[entry.name] for entry in entries], np.int32)
    return Labelled(split, classes, labels, read, tuple(scan.infos[i].sha for i in selected))


def _tfds(info: NetworkInfo, data: DataConfig, split: str | None, console: Console) -> Labelled:
    """The images of a published set."""
    builder = open_prepared(data, console.log)
    size = least_side(info) if varied_sizes(builder, data.name) else None
    own = [name for name in SPLITS if name in builder.info.splits]
    while True:
        chosen = _choose(split, own, data.name)
        wanted = own if chosen == ALL else [chosen]
        classes, parts = read_tfds(builder, data.name, image_size=size, progress=console.progress, splits=wanted)
        if parts:
            break
        own = [name for name in own if name not in wanted]  # its labels aren't published
    images = [part["image"] for part in parts.values()]
    ends = np.cumsum([len(part) for part in images])

    def read(i: int) -> np.ndarray:
        part = int(np.searchsorted(ends, i, side="right"))
        pixels = images[part][i - ends[part]]  # from the part's end
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        return fitted(image, info)

    return Labelled(chosen, classes, np.concatenate([part["label"] for part in parts.values()]), read)


def _choose(split: str | None, own: list[str], data: str) -> str:
    """The split that is meant; a set that comes with one or none has all its images there."""
    if not own:
        raise UserError(f"{data} has no images with labels")
    if split is None:
        return next((name for name in ("test", "validation") if name in own), ALL)
    if split != ALL and split not in own:
        raise UserError(f"{data} has no {split} split of its own; --split {' or '.join([*own, ALL])}")
    return split


def is_of_run(run: Path, data: DataConfig, console: Console) -> bool:
    """Returns whether these are the images of a run, where they were or elsewhere: most of its files, by path and
    content."""
    before = folder.read_config(run).data.name
    if data.name == before:
        return True
    if not (data.name.startswith("folder:") and before.startswith("folder:") and (run / folder.SPLITS).exists()):
        return False
    manifest = Manifest.from_csv(folder.read_splits(run), str(run / folder.SPLITS))
    scan = scan_folder(Path(data.name.removeprefix("folder:")), "skip", console.progress)
    return 2 * len(manifest.unchanged(scan.hashes())) > len(manifest.rows)


def _trained_on(run: Path, data: DataConfig, images: Labelled) -> int | None:
    """How many of the images a run was trained on, by content; None where that isn't known."""
    if (run / folder.SPLITS).is_file() and images.hashes:
        manifest = Manifest.from_csv(folder.read_splits(run), str(run / folder.SPLITS))
        return manifest.count_trained(images.hashes)
    if (facts := folder.read_data(run)) and facts["name"] == data.name and images.split == ALL:
        return sum(facts["images"]["train"])
    return None
