"""Hashes of what images look like, and the search for near ones against looking at every pair."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from images import pixels
from PIL import Image, ImageEnhance

from fcnn.data.fingerprint import LIMIT, groups, near_pairs, perceptual_hash


def apart(a: Image.Image, b: Image.Image) -> int:
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


def test_a_hash_survives_what_does_not_change_the_image():
    for seed in range(20):
        image = Image.fromarray(pixels(seed, 120, 160))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=40)
        assert apart(image, Image.open(file)) <= LIMIT
        assert apart(image, image.resize((80, 60))) <= LIMIT
        assert apart(image, ImageEnhance.Brightness(image).enhance(0.8)) <= LIMIT
        assert apart(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > LIMIT
        assert apart(image, Image.fromarray(pixels(seed + 1000, 120, 160))) > LIMIT


def test_images_without_structure_are_alike():
    hashes = {perceptual_hash(Image.new("L", (40, 30), value)) for value in (1, 100, 200)}
    assert len(hashes) == 1


@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(0, 7))
def test_near_pairs_are_those_of_looking_at_every_pair(seed, count, limit):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, count).astype(np.uint64)
    for i in range(1, count):  # some near an earlier one
        if rng.random() < 0.5:
            flips = rng.choice(64, rng.integers(1, 10), replace=False)
            hashes[i] = hashes[rng.integers(i)] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
    if len(np.unique(hashes)) < count:
        return
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = [(i, j) for i in range(count) for j in range(i + 1, count) if distance[i, j] <= limit]
    assert [tuple(pair) for pair in near_pairs(hashes, limit).tolist()] == expected


def test_equal_hashes_are_paired_with_the_first():
    assert near_pairs(np.asarray([7, 7, 9000, 7], np.uint64), 0).tolist() == [[0, 1], [0, 3]]
    assert near_pairs(np.asarray([], np.uint64)).tolist() == []


def test_groups_are_what_hangs_together():
    found = groups(6, np.asarray([[4, 1], [1, 3], [0, 5]]))
    assert found.tolist() == [0, 1, 2, 1, 1, 0]
