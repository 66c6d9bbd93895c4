"""Trained networks by name: one that ships with fcnn, and published ones that are downloaded when needed.

    from fcnn.training.pretrained import load_network
    network = load_network("cifar10_resnet20")

`TABLE` lists them. Downloads lie in `folder()`, verified each time they are used.
"""

from fcnn.zoo.obtain import folder, is_here, obtain, where
from fcnn.zoo.table import TABLE, Entry

__all__ = ["TABLE", "Entry", "folder", "is_here", "obtain", "where"]
