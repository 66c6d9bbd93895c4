"""A first convolution for images with another number of channels than it was trained on."""

import numpy as np


def adapt_input(kernel: np.ndarray, channels: int) -> np.ndarray | None:
    """Returns a kernel for images with `channels` channels, or None where no rule is known.

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
