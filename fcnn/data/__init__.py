"""From a data set's name to arrays of images and batches of indices."""

from fcnn.data.arrays import from_arrays
from fcnn.data.batch import epoch_order, eval_batches, evenly_spaced, gather
from fcnn.data.dataset import AnySplit, Dataset, Split
from fcnn.data.manifest import RunFiles
from fcnn.data.source import load, outline
from fcnn.data.streamed import Streamed

__all__ = [
    "AnySplit", "Dataset", "RunFiles", "Split", "Streamed", "epoch_order", "eval_batches", "evenly_spaced",
    "from_arrays", "gather", "load", "outline",
]  # fmt: skip
