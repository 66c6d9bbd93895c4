"""Near-duplicate images: two hashes that survive resizing and another compression.

The first, 64 bits of the gray image, finds candidates; the second, 256 bits of finer structure in all colors, decides.
"""

import hashlib
from collections import defaultdict
from itertools import pairwise

import numpy as np
from PIL import Image

LIMIT, FINE_LIMIT = 4, 14
"""Two images are nearly the same if at most so many of the 64 and of the 256 bits differ. Of 200 photographs of flowers
all were found again after JPEG at quality 50 or 30, at half their size or a tenth brighter, 95 % a fifth brighter, 26 %
in gray, which is another image here. Of 3,000 MNIST digits 12 pairs are that near, by the first hash alone 1,380."""
SAME = 2
"""Of images with one first hash, those whose second differs by so few bits count as one in the search."""

_SIDE, _LOW, _FINE, _COARSE, _FINE_BITS = 32, 8, 16, 4, 256
_FLAT = 2  # so little contrast may be compression's
# The first rows of the discrete cosine transform (type II, without its scale) of 32 values.
_DCT = np.cos(np.pi / _SIDE * np.outer(np.arange(_LOW), np.arange(_SIDE) + 0.5))


def _projections() -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights for each bit of the luma's pixels, (256, bits), and of both chroma planes, (2 x 16, bits).

    In each plane as many are positive as negative, so that its mean drops out. Chroma is taken at 4 x 4 pixels, which
    is what JPEG leaves of a small image's colors, each of the weight of the luma that it covers.
    """
    rng = np.random.default_rng(0)
    planes = []
    for side in (_FINE, _COARSE, _COARSE):
        half = np.repeat(np.asarray([1, -1], np.float32) * (_FINE // side), side * side // 2)
        planes.append(rng.permuted(np.tile(half, (_FINE_BITS, 1)), axis=1).T)
    return planes[0].copy(), np.concatenate(planes[1:])


_LUMA, _CHROMA = _projections()


def fingerprint(image: Image.Image, salt: str = "") -> tuple[int, int]:
    """Computes the two hashes of an image of mode "L" or "RGB".

    The first is 64 bits: the signs, about their median, of the 8 x 8 lowest frequencies of the gray image. The second
    is 256 bits: the signs of random projections of the luma at 16 x 16 pixels and the chroma at 4 x 4, without their
    means: sums of whole numbers below 2**24, the same on every machine. An image without structure has neither; its
    hashes are those of its very pixels and `salt`.

    References:
      Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1.
      Charikar 2002, "Similarity estimation techniques from rounding algorithms", section 3.
    """
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    planes = (small,) if small.mode == "L" else small.convert("YCbCr").split()
    luma, *chroma = planes
    if all(_contrast(plane) <= _FLAT for plane in planes):
        digest = hashlib.sha256(small.convert("RGB").tobytes() + salt.encode()).digest()
        return int.from_bytes(digest[:8], "big"), int.from_bytes(digest, "big")
    low = (_DCT @ np.asarray(luma, np.float64) @ _DCT.T).round(3)
    sums = np.asarray(luma.reduce(_SIDE // _FINE), np.float32).ravel() @ _LUMA
    if chroma:
        coarse = [np.asarray(plane.reduce(_SIDE // _COARSE), np.float32).ravel() for plane in chroma]
        sums += np.concatenate(coarse) @ _CHROMA
    median = np.sort(low, axis=None)[low.size // 2 - 1 : low.size // 2 + 1].mean()  # faster than np.median's
    return _number(low > median), _number(sums > 0)


def _contrast(plane: Image.Image) -> float:
    """Returns the gray levels from the darkest to the brightest pixel of an image of one channel."""
    darkest, brightest = plane.getextrema()
    return brightest - darkest  # pyright: ignore[reportOperatorIssue]  # numbers, as there is one channel


def _number(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def duplicates(hashes: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Finds the images that are nearly the same.

    Args:
      hashes: the two of each of N images (`fingerprint`).

    Returns:
      (pairs, groups): (M, 2) int64, i < j in each row: those that are near, where of several that count as one (SAME)
      each is paired with the first alone; and (N,) int64, one number for the images of a group: one of its images is
      near to all others of it.
    """
    first = np.asarray([one for one, _ in hashes], np.uint64)
    second = np.frombuffer(b"".join(two.to_bytes(_FINE_BITS // 8, "big") for _, two in hashes), np.uint64)
    second = second.reshape(-1, _FINE_BITS // 64)
    chosen = _merge(first, second)
    again = np.flatnonzero(chosen != np.arange(len(chosen)))
    own = np.flatnonzero(chosen == np.arange(len(chosen)))
    near = own[near_pairs(first[own], second[own])]
    pairs = np.concatenate([near, np.stack([chosen[again], again], axis=1)])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], stars(len(chosen), near)[chosen]


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns how many bits differ, row by row: of (N, K) uint64, (N,) int."""
    return np.bitwise_count(a ^ b).sum(axis=1, dtype=int)


def _merge(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns, for each image, the one that it counts as, itself or an earlier one: (N,) int.

    Without it, thousands of frames of a camera that doesn't move would make millions of pairs.
    """
    chosen = np.arange(len(first))
    rest = np.argsort(first, kind="stable")
    while len(rest):
        starts = np.concatenate([[True], first[rest[1:]] != first[rest[:-1]]])
        leaders = rest[starts][np.cumsum(starts) - 1]  # of those with one hash, the first that is left
        same = _apart(second[rest], second[leaders]) <= SAME
        chosen[rest[same]] = leaders[same]
        rest = rest[~same]
    return chosen


def near_pairs(first: np.ndarray, second: np.ndarray, limit: int = LIMIT, fine_limit: int = FINE_LIMIT) -> np.ndarray:
    """Returns the pairs of images, at most `limit` bits of the first and `fine_limit` of the second hash apart.

    Args:
      first: (N,) uint64.
      second: (N, K) uint64.
      limit: below 64.

    Returns:
      (M, 2) int64, i < j in each row.
    """
    pairs = [np.zeros((0, 2), int)]
    # Cut into limit + 1 bands of bits: two hashes that differ in `limit` bits are equal in a band at least.
    edges = np.linspace(0, 64, limit + 2).astype(int)
    for low, high in pairwise(edges):
        band = (first >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        band, ordered = band[order], first[order]
        # Each with its next neighbor in the band, then with the one after that, until no band is long enough.
        here, step = np.arange(len(order)), 1
        while len(here := here[here + step < len(order)]):
            here = here[band[here] == band[here + step]]
            close = here[np.bitwise_count(ordered[here] ^ ordered[here + step]) <= limit]
            candidates = np.stack([order[close], order[close + step]], axis=1)
            pairs.append(candidates[_apart(second[candidates[:, 0]], second[candidates[:, 1]]) <= fine_limit])
            step += 1
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def stars(count: int, pairs: np.ndarray) -> np.ndarray:
    """Numbers `count` things so that those of one number are all paired with one of them: (count,) int64.

    The one with the most neighbors takes all of these, then the next of those that are left: nothing hangs together
    over others, which would join thousands of different images by small steps.
    """
    neighbors = defaultdict(list)
    for i, j in pairs.tolist():
        neighbors[i].append(j)
        neighbors[j].append(i)
    numbers, taken = np.arange(count), set[int]()
    for i in sorted(neighbors, key=lambda i: (-len(neighbors[i]), i)):
        if i not in taken:
            members = [i, *(j for j in neighbors[i] if j not in taken)]
            numbers[members] = min(members)
            taken.update(members)
    return numbers
