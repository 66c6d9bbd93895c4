"""Telling that two files show the same image, or nearly: hashes that survive resizing and another compression."""

from itertools import pairwise

import numpy as np
from PIL import Image

LIMIT = 4
"""Two images are nearly the same if at most this many of the 64 bits of their hashes differ. Among 4,317 photographs of
flowers, each of the 25 pairs within 4 bits is one photograph twice (in other colours, compressed again, in grey); of
the 31 within 6, one isn't."""

_SIDE, _LOW = 32, 8
# The first rows of the discrete cosine transform (type II, without its scale) of 32 values.
_DCT = np.cos(np.pi / _SIDE * np.outer(np.arange(_LOW), np.arange(_SIDE) + 0.5))


def perceptual_hash(image: Image.Image) -> int:
    """64 bits of what an image looks like: the signs, about their median, of its 8 x 8 lowest frequencies.

    Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1.
    """
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64)
    # Rounded, so that in an image without structure rounding noise isn't taken for one.
    low = (_DCT @ grey @ _DCT.T).round(3)
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: np.ndarray, limit: int = LIMIT) -> np.ndarray:
    """The pairs of hashes of which at most `limit` bits differ.

    Args:
      hashes: (N,) uint64.
      limit: below 64.

    Returns:
      (M, 2) int64, i < j in each row. Of images with the very same hash, each is paired with the first alone.
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    pairs = [np.stack([first[inverse[again]], again], axis=1)]
    # Cut into limit + 1 bands of bits: two hashes that differ in `limit` bits are equal in a band at least.
    edges = np.linspace(0, 64, limit + 2).astype(int)
    for low, high in pairwise(edges):
        band = (unique >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        band, ordered = band[order], unique[order]
        # Each with its next neighbour in the band, then with the one after that, until no band is long enough.
        here, step = np.arange(len(order)), 1
        while len(here := here[here + step < len(order)]):
            here = here[band[here] == band[here + step]]
            close = here[np.bitwise_count(ordered[here] ^ ordered[here + step]) <= limit]
            pairs.append(np.stack([first[order[close]], first[order[close + step]]], axis=1))
            step += 1
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def groups(count: int, pairs: np.ndarray) -> np.ndarray:
    """Numbers `count` things so that those which pairs connect, over others too, have one number: (count,) int."""
    parent = list(range(count))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = top(int(i)), top(int(j))
        parent[max(a, b)] = min(a, b)
    return np.asarray([top(i) for i in range(count)], np.int64)
