"""Augmentation: shapes and ranges kept, each image drawn by itself, whatever the batch it stands in."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnn import augment
from fcnn.batch import make_batch


def images_of(size=16, shape=(9, 7, 3)):
    images = np.random.default_rng(0).integers(1, 256, (size, *shape)).astype(np.uint8)
    return make_batch(jnp.asarray(images), jnp.arange(size, dtype=jnp.int32))


AUGMENTS = {"crop": augment.crop(3), "flip": augment.flip()}
AUGMENTS["both"] = augment.compose(*AUGMENTS.values())


@pytest.mark.parametrize("name", AUGMENTS)
def test_images_change_by_themselves_alone(name):
    change, batch, key = AUGMENTS[name], images_of(), jax.random.key(0)
    with jax.numpy_dtype_promotion("strict"):
        changed = jax.jit(change)(key, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(changed, batch)
    chex.assert_trees_all_equal({**changed, "image": 0}, {**batch, "image": 0})
    assert not np.array_equal(changed["image"], batch["image"])
    # The same key, the same images; another key, others.
    chex.assert_trees_all_equal(change(key, batch), changed)
    assert not np.array_equal(change(jax.random.key(1), batch)["image"], changed["image"])
    # A part of the batch, in another order, gives the same images for the same positions.
    part = jax.tree.map(lambda x: x[np.asarray([11, 2, 5])], batch)
    np.testing.assert_array_equal(change(key, part)["image"], changed["image"][np.asarray([11, 2, 5])])


def test_a_crop_is_a_window_of_the_padded_image():
    batch = images_of(64)
    cropped = np.asarray(augment.crop(2)(jax.random.key(0), batch)["image"])
    places = set()
    for before, after in zip(np.asarray(batch["image"]), cropped, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        found = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[y : y + 9, x : x + 7], after)]
        assert len(found) == 1
        places |= set(found)
    assert len(places) > 15  # of 25


def test_a_flip_mirrors_about_half():
    batch = images_of(400, (3, 5, 1))
    flipped = np.asarray(augment.flip()(jax.random.key(0), batch)["image"])
    images = np.asarray(batch["image"])
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 160 < mirrored.sum() < 240


def test_normalization_is_the_textbooks():
    batch = images_of()
    mean, std = np.asarray([0.1, 0.5, 0.7], np.float32), np.asarray([0.2, 0.3, 0.4], np.float32)
    with jax.numpy_dtype_promotion("strict"):
        out = augment.normalize(mean, std)(batch)["image"]
    assert out.dtype == jnp.float32
    expected = (np.asarray(batch["image"], np.float64) / 255 - mean) / std
    np.testing.assert_allclose(out, expected, atol=1e-5)
