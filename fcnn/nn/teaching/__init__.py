"""What only teaches: convolution in two slow ways, image kernels, backward passes by hand, the arithmetic of windows.

No model uses it. What is said here about convolution and pooling is compared with `fcnn.nn` in the tests.
"""

from fcnn.nn.teaching.backward import (
    conv_backward,
    dense_backward,
    max_pool_backward,
    relu_backward,
    softmax_cross_entropy_backward,
)
from fcnn.nn.teaching.conv import conv_im2col, conv_sliding, im2col
from fcnn.nn.teaching.geometry import ReceptiveField, output_size, receptive_field
from fcnn.nn.teaching.kernels import (
    RIDGE,
    SHARPEN,
    box_blur,
    box_kernel,
    filter_image,
    gaussian_blur,
    gaussian_kernel,
    ridge,
    sharpen,
)

__all__ = [
    "RIDGE", "SHARPEN", "ReceptiveField", "box_blur", "box_kernel", "conv_backward", "conv_im2col", "conv_sliding",
    "dense_backward", "filter_image", "gaussian_blur", "gaussian_kernel", "im2col", "max_pool_backward", "output_size",
    "receptive_field", "relu_backward", "ridge", "sharpen", "softmax_cross_entropy_backward",
]  # fmt: skip
