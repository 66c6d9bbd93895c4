"""Trained networks by name: two that come with fcnn, and published ones that are downloaded when needed.

    from fcnn.training.pretrained import load_network
    network = load_network("cifar10_resnet20")

`TABLE` lists them. Downloads lie in `folder()`, verified each time they are used.
"""

from fcnn.zoo.entry import Entry
from fcnn.zoo.hub import is_on_hub, obtain_from_hub
from fcnn.zoo.obtain import class_names, folder, is_here, obtain, where
from fcnn.zoo.table import TABLE, most_accurate

__all__ = [
    "TABLE",
    "Entry",
    "class_names",
    "folder",
    "is_here",
    "is_on_hub",
    "most_accurate",
    "obtain",
    "obtain_from_hub",
    "where",
]
