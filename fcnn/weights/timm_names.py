"""timm's names where they aren't torchvision's: of the networks here, those of VGG's dense layers.

timm (github.com/huggingface/pytorch-image-models, `vgg.py`) has the first two as convolutions of 7x7 and 1x1. Its
ResNets and Inception v3 have torchvision's names; the Inception comes without the auxiliary head.
"""

from collections.abc import Mapping

import numpy as np

VGG = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}


def as_torchvision(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state_dict under torchvision's names and shapes; one that has them already comes back as it is."""
    renamed = {}
    for name, array in state_dict.items():
        layer, _, part = name.rpartition(".")
        if layer not in VGG:
            renamed[name] = array
        else:
            renamed[f"{VGG[layer]}.{part}"] = array.reshape(len(array), -1) if array.ndim == 4 else array
    return renamed
