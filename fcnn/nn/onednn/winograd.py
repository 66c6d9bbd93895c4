"""Winograd's algorithm as matrices: a 3x3 convolution with a quarter of the multiplications.

Four neighboring outputs of a row are coefficients of the product of two polynomials, one of the row's weights and one
of six inputs. So evaluate both at five points and at infinity, multiply value by value, and interpolate. In two
dimensions that is 36 multiplications for 16 outputs in the place of 144. Evaluation and interpolation are linear, the
matrices G, T and R below, and with many channels, which share them, they cost little:

    y = R ((G w) * (T x))

Source: Winograd 1980, "Arithmetic complexity of computations"; Lavin & Gray 2016, "Fast algorithms for convolutional
neural networks", section 4.
"""

import math

import numpy as np

from fcnn.nn.onednn.convolution_plan import Geometry

TILE, TAPS = 4, 3
"""Outputs and weights of a row."""
VALUES = TILE + TAPS - 1
"""How many each of the polynomials has."""
# Of points 0, +-a, +-b those with the smallest errors in float32: with 128 channels 0.6e-6 to 1.0e-6 of the deviation
# (root mean square; output and gradients), where the paper's 0, +-1, +-2 lose 1.4e-6 to 2.3e-6.
_POINTS = np.array([0, 2 / 3, -2 / 3, 3 / 2, -3 / 2])


def weights_matrix() -> np.ndarray:
    """G, which makes the values of a row's weights: (6, 3)."""
    scales = [math.prod(point - _others(point)) for point in _POINTS]
    finite = np.vander(_POINTS, TAPS, increasing=True) / np.array(scales)[:, None]
    return np.vstack([finite, np.eye(TAPS)[-1]])


def input_matrix(size: int, padding: int) -> np.ndarray:
    """T, which makes the values of all tiles of a row of pixels between zeros: (tiles * 6, size)."""
    polynomials = [np.poly(_others(point))[::-1] for point in _POINTS] + [np.poly(_POINTS)[::-1]]
    tile = np.array([np.pad(polynomial, (0, VALUES - len(polynomial))) for polynomial in polynomials])
    count = tiles(size, padding)
    matrix = np.zeros((count, VALUES, padding + max(size, count * TILE + TAPS)))
    for at in range(count):
        matrix[at, :, at * TILE : at * TILE + VALUES] = tile
    return matrix[:, :, padding : padding + size].reshape(-1, size)


def output_matrix(size: int, padding: int) -> np.ndarray:
    """R, which makes a row of outputs from the values of all tiles: (outputs, tiles * 6)."""
    tile = np.vstack([np.vander(_POINTS, TILE, increasing=True), np.eye(TILE)[-1]]).T
    return np.kron(np.eye(tiles(size, padding)), tile)[: _outputs(size, padding)]


def tiles(size: int, padding: int) -> int:
    """How many a row of pixels between zeros has; of the last one's four outputs some may be cut."""
    return -(-_outputs(size, padding) // TILE)


def suits(geometry: Geometry) -> bool:
    """Whether the algorithm computes this convolution and its gradients: 3x3, with nothing special."""
    same_ends = all(before == after for before, after in geometry.padding)
    plain = geometry.strides == geometry.dilation == (1, 1) and geometry.groups == 1
    return plain and same_ends and geometry.w[:2] == (TAPS, TAPS)


def cost(geometry: Geometry) -> float:
    """About the time that it takes, as a part of what the convolution as written takes."""
    # Fitted to forward and both gradients on two cores with AVX-512, for batch x side x channels: 128x4x512 0.37,
    # 128x8x256 0.54, 128x16x128 0.73, 128x32x64 1.25; 32x4x256 0.60, 32x16x64 1.0; 8x56x256 0.60, 8x56x64 1.6,
    # 8x28x128 0.75, 8x14x256 0.77, 8x7x512 1.0; 1x14x256 1.5.
    (batch, height, width, c), (_, *outputs, o) = geometry.x, geometry.y
    ends = zip((height, width), geometry.padding, strict=True)
    products = VALUES**2 * math.prod(tiles(size, padding) for size, (padding, _) in ends) / math.prod(outputs) / TAPS**2
    images = (22 + 0.4 * max(height, width)) * (1 / c + 1 / o)
    kernel = 200 / (batch * math.prod(outputs))
    return products + images + kernel


def _others(point: float) -> np.ndarray:
    return _POINTS[point != _POINTS]


def _outputs(size: int, padding: int) -> int:
    return size + 2 * padding - TAPS + 1
