"""From a data set's name to arrays of images and batches of indices."""

from fcnn.data.batch import epoch_order, eval_batches, gather
from fcnn.data.dataset import Dataset, Split
from fcnn.data.source import load

__all__ = ["Dataset", "Split", "epoch_order", "eval_batches", "gather", "load"]
