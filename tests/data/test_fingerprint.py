"""Hashes of what images look like, the search for near ones against looking at every pair, groups without chains."""

import gzip
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import pixels
from PIL import Image, ImageEnhance

from fcnn.data.fingerprint import FINE_LIMIT, LIMIT, SAME, duplicates, fingerprint, near_pairs, stars


def near(a: Image.Image, b: Image.Image) -> bool:
    pairs = zip(fingerprint(a), fingerprint(b), (LIMIT, FINE_LIMIT), strict=True)
    return all((x ^ y).bit_count() <= limit for x, y, limit in pairs)


def test_hashes_survive_what_does_not_change_the_image():
    for seed in range(20):
        image = Image.fromarray(pixels(seed, 120, 160))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=40)
        assert near(image, Image.open(file))
        assert near(image, image.resize((80, 60)))
        assert near(image, ImageEnhance.Brightness(image).enhance(0.8))
        assert not near(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        assert not near(image, Image.fromarray(pixels(seed + 1000, 120, 160)))


def test_a_gray_image_is_itself_in_three_channels():
    for gray in (Image.fromarray(pixels(0)[..., 0]), Image.new("L", (9, 9), 7)):
        assert fingerprint(gray) == fingerprint(gray.convert("RGB"))


def test_images_of_one_pattern_in_other_colors_are_others():
    pattern = pixels(3)[..., 0]
    red, green = np.zeros((2, *pattern.shape, 3), np.uint8)
    red[..., 0], green[..., 1] = pattern, pattern
    assert not near(Image.fromarray(red), Image.fromarray(green))


def test_images_without_structure_are_alike_if_their_pixels_are():
    flat = {value: Image.new("RGB", (40, 30), value) for value in ("red", "darkred", "green", "white")}
    for a, one in flat.items():
        for b, other in flat.items():
            assert near(one, other) == (a == b)
    assert fingerprint(flat["red"]) == fingerprint(Image.new("RGB", (50, 50), "red"))
    assert fingerprint(flat["red"], "0 to 1") != fingerprint(flat["red"], "0 to 2")


@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 7), st.integers(0, 20))
def test_near_pairs_are_those_of_looking_at_every_pair(seed, count, limit, fine_limit):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2**63, count).astype(np.uint64)
    second = rng.integers(0, 2**63, (count, 4)).astype(np.uint64)
    for i in range(1, count):  # some near an earlier one
        if rng.random() < 0.5:
            j, flips = rng.integers(i), rng.choice(64, rng.integers(1, 10), replace=False)
            first[i] = first[j] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
            second[i] = second[j]
            second[i, rng.integers(4)] ^= np.uint64(rng.integers(2**20))
    apart = np.bitwise_count(first[:, None] ^ first[None])
    looks_apart = np.bitwise_count(second[:, None] ^ second[None]).sum(axis=2)
    close = (apart <= limit) & (looks_apart <= fine_limit)
    expected = [(i, j) for i in range(count) for j in range(i + 1, count) if close[i, j]]
    assert [tuple(pair) for pair in near_pairs(first, second, limit, fine_limit).tolist()] == expected


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_every_image_of_a_group_is_near_one_of_them(seed, count):
    rng = np.random.default_rng(seed)
    hashes: list[tuple[int, int]] = []
    for _ in range(count):  # each some steps from an earlier one: chains
        one, two = hashes[rng.integers(len(hashes))] if hashes else (0, 0)
        for _ in range(rng.integers(4)):
            one ^= 1 << int(rng.integers(64))
        for _ in range(rng.integers(12)):
            two ^= 1 << int(rng.integers(256))
        hashes.append((one, two))

    def apart(i: int, j: int) -> tuple[int, int]:
        return tuple((a ^ b).bit_count() for a, b in zip(hashes[i], hashes[j], strict=True))  # pyright: ignore

    pairs, groups = duplicates(hashes)
    for i, j in pairs.tolist():
        assert i < j
        assert apart(i, j) <= (LIMIT, FINE_LIMIT)
    for number in np.unique(groups):
        members = np.flatnonzero(groups == number).tolist()
        assert any(
            all(a <= LIMIT and b <= FINE_LIMIT + SAME for a, b in (apart(i, j) for j in members)) for i in members
        )
    for i in range(count):  # the very same are never apart
        assert all(groups[i] == groups[j] for j in range(count) if hashes[i] == hashes[j])


def test_equal_images_are_paired_with_the_first():
    pairs, groups = duplicates([(7, 1), (7, 1), (9000, 1 << 200), (7, 1)])
    assert pairs.tolist() == [[0, 1], [0, 3]]
    assert groups.tolist() == [0, 0, 2, 0]
    assert [part.tolist() for part in duplicates([])] == [[], []]


def test_groups_are_stars_and_no_chains():
    chain = [[i, i + 1] for i in range(6)]
    assert stars(7, np.asarray(chain)).tolist() == [0, 0, 0, 3, 3, 5, 5]
    assert stars(6, np.asarray([[4, 1], [1, 3], [0, 5]])).tolist() == [0, 1, 2, 1, 1, 0]


def test_a_camera_that_does_not_move_makes_few_pairs():
    frames = [(5, 1 << (i % 256)) for i in range(20_000)]
    pairs, groups = duplicates(frames)
    assert len(pairs) < 2 * len(frames)
    assert len(np.unique(groups)) == 1


def copies_of(image: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    bright = ImageEnhance.Brightness(image)
    half = image.resize((image.width // 2, image.height // 2))
    return {"jpeg": Image.open(file), "half": half, "bright": bright.enhance(1.1), "dark": bright.enhance(0.8)}


@pytest.mark.parametrize(("kind", "least"), [("jpeg", 1), ("half", 1), ("bright", 0.98), ("dark", 1)])
def test_copies_of_photographs_are_found(real, kind, least):
    paths = sorted((real / "flowers").glob("*/*.jpg"))[::43]
    photographs = [Image.open(path).convert("RGB") for path in paths]
    found = [near(image, copies_of(image)[kind].convert("RGB")) for image in photographs]
    assert len(found) == 101
    assert np.mean(found) >= least


def test_handwritten_digits_are_no_copies_of_one_another(real):
    data = gzip.decompress((real / "mnist/train-images-idx3-ubyte.gz").read_bytes())
    digits = np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)[:3000]
    pairs, groups = duplicates([fingerprint(Image.fromarray(digit)) for digit in digits])
    assert len(pairs) < 30  # 1,380 by the first hash alone
    assert np.bincount(groups).max() < 10
