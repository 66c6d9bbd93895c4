"""From a name to a loaded `Dataset`: TFDS prepares each set once, in its own folder, and we read it back."""

import contextlib
import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from fcnn.config import DataConfig
from fcnn.data.dataset import Dataset, Split, stratified_holdout


def _digits() -> Any:
    from fcnn.data.digits import Digits

    return Digits(file_format="array_record")


BUILDERS: dict[str, Callable[[], Any]] = {"digits": _digits}


def load(config: DataConfig, *, say: Callable[[str], None] = lambda _: None) -> Dataset:
    """Loads a data set, preparing it first if this is the first use.

    Args:
      config: which one, and how much of train to hold out for validation.
      say: is told what takes long, a line at a time.
    """
    import tensorflow_datasets as tfds  # imported here because it is slow, and half of the commands need no data

    # TFDS logs on every use that OpenCV would decode faster than Pillow, which is what we chose.
    logging.getLogger("absl").setLevel(logging.ERROR)
    builder = BUILDERS[config.name]()
    if not builder.data_path.exists():
        say(f"Preparing {config.name} in {builder.data_path} (once) ...")
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints there, which is for our own reports
            builder.download_and_prepare()
    train, test = (_read(builder, split) for split in ("train", "test"))
    kept, held_out = stratified_holdout(train.labels, config.validation, config.split_seed)
    names = tuple(builder.info.features["label"].names)
    return Dataset(config.name, names, train=train.take(kept), validation=train.take(held_out), test=test)


def _read(builder: Any, split: str) -> Split:
    """A whole split, decoded into memory, in the order in which TFDS wrote it."""
    examples = list(builder.as_data_source(split=split))
    return Split(
        images=np.stack([example["image"] for example in examples]),
        labels=np.asarray([example["label"] for example in examples], np.int32),
    )
