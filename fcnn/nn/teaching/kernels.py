"""Image kernels: convolutions that nobody trained, to see with one's own eyes what a convolution does."""

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.nn.fast_conv import conv_general_dilated
from fcnn.nn.teaching.edges import PaddingMode, pad

RIDGE = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=np.float64)
"""Eight times the center less its neighbors: 0 where the image is constant or changes evenly, large on edges."""

SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], dtype=np.float64)
"""The image plus its difference from the four neighbors; the entries sum to 1, which keeps the brightness."""


def box_kernel(size: int = 3) -> np.ndarray:
    """(size, size) entries of 1 / size²: the mean of a square.

    Raises:
      ValueError: if `size` isn't positive and odd.

    >>> float((box_kernel(3) * 9).sum())
    9.0
    """
    _odd("box_kernel", size)
    return np.full((size, size), 1 / size**2)


def gaussian_kernel(size: int = 5, sigma: float = 1.0) -> np.ndarray:
    """(size, size) samples of exp(-(i² + j²) / (2 sigma²)) around the center, divided by their sum.

    Raises:
      ValueError: if `size` isn't positive and odd, or `sigma` isn't positive.

    >>> gaussian_kernel(3, sigma=1.0).round(3).tolist()
    [[0.075, 0.124, 0.075], [0.124, 0.204, 0.124], [0.075, 0.124, 0.075]]
    """
    _odd("gaussian_kernel", size)
    if sigma <= 0:
        raise ValueError(f"gaussian_kernel: sigma must be positive, got {sigma}")
    bell = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return np.outer(bell, bell) / bell.sum() ** 2


def filter_image(x: jax.Array, kernel: np.ndarray | jax.Array, *, padding_mode: PaddingMode = "edge") -> jax.Array:
    """Convolves each channel by itself with one kernel; the image keeps its size.

        y[b, i, c] = sum_k x[b, i + k - K // 2, c] kernel[k]

    Args:
      x: (B, H, W, C) of a floating type.
      kernel: (K_h, K_w), both odd.
      padding_mode: what lies beyond the border, as in `conv_sliding`.

    Returns:
      Of x's shape and type; the values may leave the range of an image.

    Raises:
      ValueError: if x or the kernel has another rank, x isn't floating, or a side of the kernel is even.

    Source: Gonzalez & Woods, "Digital image processing", chapter on spatial filtering.

    >>> filter_image(jnp.ones((1, 4, 4, 3)), RIDGE).shape
    (1, 4, 4, 3)
    """
    x = jnp.asarray(x)
    if x.ndim != 4 or np.ndim(kernel) != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"filter_image: x must be floating (B, H, W, C) and the kernel (K, K), "
            f"got {x.dtype} {x.shape} and {np.shape(kernel)}"
        )
    for side in kernel.shape:
        _odd("filter_image", side)
    channels = x.shape[-1]
    w = jnp.tile(jnp.asarray(kernel, x.dtype)[:, :, None, None], (1, 1, 1, channels))
    x = pad("filter_image", x, tuple((side // 2, side // 2) for side in kernel.shape), padding_mode)
    numbers = ("NHWC", "HWIO", "NHWC")
    return conv_general_dilated(x, w, (1, 1), ((0, 0), (0, 0)), dimension_numbers=numbers, feature_group_count=channels)


def ridge(x: jax.Array) -> jax.Array:
    """Edges, as what differs from its eight neighbors: `filter_image` with `RIDGE`; x is (B, H, W, C).

    >>> x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1.0)
    >>> ridge(x)[0, :, :, 0].tolist()
    [[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]]
    """
    return filter_image(x, RIDGE)


def sharpen(x: jax.Array) -> jax.Array:
    """Edges made steeper: `filter_image` with `SHARPEN`; x is (B, H, W, C).

    >>> sharpen(jnp.array([0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 4, 1)).ravel().tolist()
    [0.0, -1.0, 2.0, 1.0]
    """
    return filter_image(x, SHARPEN)


def box_blur(x: jax.Array, size: int = 3) -> jax.Array:
    """The mean of a square around each pixel: `filter_image` with `box_kernel`; x is (B, H, W, C).

    >>> x = jnp.array([0.0, 0.0, 3.0, 3.0]).reshape(1, 1, 4, 1)
    >>> np.asarray(box_blur(x)).ravel().astype(float).round(3).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    return filter_image(x, box_kernel(size))


def gaussian_blur(x: jax.Array, size: int = 5, sigma: float = 1.0) -> jax.Array:
    """A mean around each pixel that fades with the distance: `filter_image` with `gaussian_kernel`; x is (B, H, W, C).

    >>> x = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).reshape(1, 1, 6, 1)
    >>> np.asarray(gaussian_blur(x)).ravel().astype(float).round(3).tolist()
    [0.0, 0.054, 0.299, 0.701, 0.946, 1.0]
    """
    return filter_image(x, gaussian_kernel(size, sigma))


def _odd(caller: str, size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"{caller}: the size must be positive and odd, so that there is a center, got {size}")
