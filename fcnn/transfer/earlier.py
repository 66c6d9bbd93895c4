"""`fcnn train PHOTOS --from RUN`: what a run takes over from an earlier one, and how good each is on today's images."""

import dataclasses
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnn.config import Config, DataConfig
from fcnn.data import Dataset
from fcnn.data.earlier import read_earlier
from fcnn.distributed import sharding
from fcnn.report import Console, read_records
from fcnn.training import workdir as folder
from fcnn.training.evaluate import compile_on_each, restore
from fcnn.training.pretrained import load_network
from fcnn.training.setup import TrainSetup
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable, table
from fcnn.zoo import TABLE

KEPT = ("image_size", "val_fraction", "test_fraction", "split_seed", "splits")
"""Fields of `DataConfig` that can't be chosen anew."""


def options_from(run: Path, options: Config, named: Collection[str]) -> tuple[Config, frozenset[str]]:
    """Returns the options of a run that goes on from an earlier one, and the fields of them that are decided.

    Args:
      options: whose values of the fields in `named` hold.

    Raises:
      UserError: it isn't a finished run on a folder of images, or the options contradict it.
    """
    config, path = folder.read_config(run), printable(str(run))
    if not config.data.name.startswith("folder:"):
        raise UserError(f"{path} is a run on {config.data.name}, not on a folder of images")
    if not any(record["kind"] == "test" for record in read_records(run)):
        raise UserError(f"the run in {path} is not finished: continue it with the same command and --workdir {path}")
    try:
        earlier = read_earlier(str(run / folder.SPLITS))
    except UserError as error:  # of an older version, perhaps
        hint = "Nothing says which images the run was trained on: train without --from"
        raise UserError(f"{error}\n{hint}") from None
    if kept := sorted(f"data.{name}" for name in KEPT if f"data.{name}" in named):
        raise UserError(f"--from keeps what {path} has for --{kept[0].replace('_', '-')}; leave it out")
    facts: Any = folder.read_data(run)
    fields = [field.name for field in dataclasses.fields(DataConfig)]
    chosen = {name: getattr(options.data, name) for name in fields if f"data.{name}" in named}
    kept = {"image_size": facts["image_shape"][0], "splits": str(run / folder.SPLITS), "num_train": None}
    data = dataclasses.replace(config.data, **kept | chosen)
    weights, transfer = str(run.resolve() if str(run) in TABLE else run), options.transfer  # not the zoo's of that name
    was_held_out = any(row.split == "validation" for row in earlier.rows)
    if "transfer.weights" not in named:
        transfer = dataclasses.replace(transfer, weights=weights if was_held_out else untrained(weights))
    if not was_held_out and not learned_features(transfer.weights or weights):  # all of its images are free for it
        data = dataclasses.replace(data, val_fraction=options.data.val_fraction)
    return dataclasses.replace(options, data=data, transfer=transfer), frozenset({*named, "transfer.weights"})


def learned_features(weights: str | Path) -> bool:
    """Returns whether weights are of a run that has trained more than a head: on its training images these features
    are better than on others, so that nothing can be cross-validated with them."""
    path = run_of(weights)
    if path is None:
        return False
    transfer = folder.read_config(path).transfer
    if transfer.head_init == "extend":
        return True
    tests = [record for record in read_records(path) if record["kind"] == "test"]
    if transfer.strategy not in ("head", "pretrained") and (not tests or tests[-1]["checkpoint"] > 0):
        return True
    return transfer.weights is not None and learned_features(transfer.weights)


def untrained(weights: str) -> str:
    """Returns the weights that a run began with, or the run before it, whose features have learned nothing from the
    images; the same ones if there are none."""
    start: str | None = weights
    while start is not None and learned_features(start):
        run: Any = run_of(start)
        start = folder.read_config(run).transfer.weights
    return weights if start is None else start


def run_of(weights: str | Path) -> Path | None:
    """Returns the folder of the run that weights are of, itself or its exported file; None if they are of none."""
    path = Path(weights).expanduser()
    if str(weights) in TABLE:  # which comes before a folder's name
        return None
    return next((one for one in (path, path.parent) if path.exists() and (one / folder.CONFIG).is_file()), None)


def count_learned(weights: str | Path, hashes: Iterable[str]) -> int:
    """Returns how many files, by their `ImageInfo.sha`, are of those that the weights have learned features from."""
    run = run_of(weights) if learned_features(weights) else None
    if run is None or not (run / folder.SPLITS).is_file():
        return 0
    return read_earlier(str(run / folder.SPLITS)).count_trained(hashes)


def check_untrained(config: Config, dataset: Dataset) -> None:
    """Raises UserError where the weights have learned from images of a folder that is split anew, or from held-out ones
    of other splits: neither the accuracy on its test images nor a cross-validated one would be honest."""
    weights, manifest = config.transfer.weights, dataset.manifest
    if weights is None or manifest is None:
        return
    is_new = config.data.splits is None
    if count := count_learned(weights, (row.hash for row in manifest.rows if is_new or row.split != "train")):
        path = printable(str(run_of(weights)))
        raise UserError(
            f"{path} was trained on {count:,} of these images, so they can't test it: continue it with --from {path}, "
            "which keeps its splits"
        )


def compare_with_earlier(config: Config, workdir: Path, console: Console) -> dict[str, Any] | None:
    """Logs the accuracy of the earlier run's network and of this run's: on the test images that both have, and on all
    of today's. None where the config names no earlier run, or it is gone.

    Returns:
      {"workdir", "shared", "all"}, the last two {"count", "before", "now"}: accuracies, 0 to 1.
    """
    if config.data.splits is None or not (Path(config.data.splits).parent / folder.CONFIG).is_file():
        return None
    run = Path(config.data.splits).parent
    setup, best = restore(workdir, console, "test")
    old = load_network(str(run))
    if old.info.image_shape != setup.dataset.image_shape or setup.dataset.manifest is None:
        return None
    names, labels = np.asarray(setup.dataset.classes), setup.dataset.test.labels
    now = names[_answers(setup, best.variables)] == names[labels]
    dataset = setup.dataset.normalized_by(old.info.mean, old.info.std)
    old_setup = dataclasses.replace(setup, model=old.create(), dataset=dataset)
    old_variables = sharding.replicate(dict(old.variables), setup.mesh)
    before = np.asarray(old.info.classes)[_answers(old_setup, old_variables)] == names[labels]
    tested = {row.hash for row in read_earlier(config.data.splits).rows if row.split == "test"}
    shared = np.asarray([row.hash in tested for row in setup.dataset.manifest.rows if row.split == "test"], bool)
    rows = {"shared": shared, "all": np.ones(len(labels), bool)}
    result = {
        name: {"count": int(part.sum()), "before": float(before[part].mean()), "now": float(now[part].mean())}
        for name, part in rows.items()
        if part.any()
    }
    titles = {"shared": f"test images of {printable(run.name)}", "all": "all current test images"}
    lines = [
        [titles[name], f"{one['count']:,}", f"{100 * one['before']:.2f} %", f"{100 * one['now']:.2f} %"]
        for name, one in result.items()
    ]
    console.log(table([["accuracy", "images", "before", "now"], *lines]))
    if new := [printable(str(name)) for name in names if name not in old.info.classes]:
        console.log(f"New classes: {', '.join(new)}.")
    return {"workdir": str(run), **result}


def _answers(setup: TrainSetup, variables: Any) -> np.ndarray:
    """Returns the likeliest class of each test image, (N,) int."""

    def logits(variables: Any, images: jax.Array) -> Any:
        return setup.model.apply(variables, images, train=False)

    return compile_on_each(setup, logits, variables, setup.dataset.test)().argmax(axis=1)
