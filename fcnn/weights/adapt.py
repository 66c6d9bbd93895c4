"""A trained network's parts for other images and other classes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def adapt_input(kernel: np.ndarray, channels: int) -> np.ndarray | None:
    """Returns a first convolution's kernel for images with `channels` channels, or None where no rule is known.

    A sum over the input channels for gray images: what the kernel gives for them in three equal channels. For more
    channels than one, those of a kernel for gray or color images are repeated, and scaled so that equal channels give
    what they gave before. As timm's `adapt_input_conv`.

    Args:
      kernel: (height, width, input channels, output channels).
    """
    before = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    if before not in (1, 3):
        return None
    repeated = np.tile(kernel, (1, 1, -(-channels // before), 1))[:, :, :channels]
    return repeated * np.float32(before / channels)


def match_classes(known: Sequence[str], wanted: Sequence[str]) -> tuple[int | None, ...]:
    """Returns, for each wanted class, its index among the known ones, matched by name, or None.

    A name that occurs twice on either side fits two classes ("crane" in ImageNet is a bird and a machine) and has no
    match, unless both sides are the same list.

    Args:
      known: the class names of a network, in the order of its logits (`NetworkInfo.names`); empty if nobody named them.
      wanted: the class names of the data, in the order of its labels.

    >>> match_classes(("cat", "dog", "fish"), ("dog", "bird"))
    (1, None)
    """
    if tuple(known) == tuple(wanted):
        return tuple(range(len(known)))
    counts, index = Counter(known) | Counter(wanted), {name: i for i, name in enumerate(known)}
    return tuple(index.get(name) if counts[name] == 1 else None for name in wanted)
