"""Files of weights, read and written: PyTorch's names and layouts, and the facts that belong to weights."""

from fcnn.weights.adapt import adapt_input, match_classes
from fcnn.weights.network import (
    Network,
    NetworkInfo,
    check_same,
    linear_head,
    preprocessing_note,
    published,
    read_network,
    write_network,
)
from fcnn.weights.torch_names import from_torch, to_torch

__all__ = [
    "Network",
    "NetworkInfo",
    "adapt_input",
    "check_same",
    "from_torch",
    "linear_head",
    "match_classes",
    "preprocessing_note",
    "published",
    "read_network",
    "to_torch",
    "write_network",
]
