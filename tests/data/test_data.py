"""The embedded digits, the splits, and batches as indices."""

import os
import subprocess
import sys
import zlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.config import DataConfig
from fcnn.data import epoch_order, eval_batches, gather, load
from fcnn.data.dataset import Dataset, Split
from fcnn.data.splits import stratified_holdout


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig(name="digits"))


def test_digits_has_a_fixed_stratified_test_split(digits):
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1293, 144, 360)
    assert digits.classes == tuple("0123456789")
    assert digits.train.images.shape == (1293, 8, 8, 1)
    assert digits.train.images.dtype == np.uint8
    everything = [digits.train, digits.validation, digits.test]
    counts = np.stack([np.bincount(split.labels, minlength=10) for split in everything])
    assert counts.sum(axis=0).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    for split, row in zip(everything, counts, strict=True):
        assert abs(row - counts.sum(axis=0) * len(split) / 1797).max() < 1.01
    # The very images: another split would make published accuracies incomparable.
    images = sorted(image.tobytes() for image in digits.test.images)
    assert zlib.crc32(b"".join(images)) == 2781080691


def test_digits_are_scikit_learns(digits):
    from sklearn.datasets import load_digits

    ours = np.concatenate([split.images for split in (digits.train, digits.validation, digits.test)])
    digits_there: Any = load_digits()
    theirs = np.round(digits_there.images * 255 / 16).astype(np.uint8)
    assert sorted(image.tobytes() for image in ours) == sorted(image.tobytes() for image in theirs)


def test_preparing_needs_no_tensorflow_and_happens_once(tmp_path):
    program = (
        "import sys\nfrom fcnn.config import DataConfig\nfrom fcnn.data import load\nsaid = []\n"
        "load(DataConfig(), log=said.append)\nprint(len(said), 'tensorflow' in sys.modules)"
    )
    env = dict(os.environ) | {"TFDS_DATA_DIR": str(tmp_path)}
    runs = [subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True) for _ in range(2)]
    assert [run.stdout for run in runs] == ["1 False\n", "0 False\n"], runs[0].stderr
    assert list(tmp_path.glob("digits/1.0.0/*.array_record*"))


def test_validation_comes_out_of_train_alone():
    with_none = load(DataConfig(val_fraction=0.0))
    assert (len(with_none.train), len(with_none.validation)) == (1437, 0)
    a, b, c = (load(DataConfig(val_fraction=0.2, split_seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(a.validation.images, b.validation.images)
    assert not np.array_equal(a.validation.images, c.validation.images)
    assert np.array_equal(a.test.images, with_none.test.images)


@given(size=st.integers(1, 300), share=st.floats(0, 0.9), seed=st.integers(0, 100))
def test_a_holdout_is_a_proportional_partition(size, share, seed):
    labels = np.random.default_rng(size).integers(0, 5, size) ** 2 // 4  # classes of unlike sizes
    kept, held_out = stratified_holdout(labels, share, seed)
    assert sorted([*kept, *held_out]) == list(range(size))
    assert len(held_out) == round(share * size)
    proportional = np.bincount(labels, minlength=5) * len(held_out) / size
    assert abs(np.bincount(labels[held_out], minlength=5) - proportional).max() < 1.001
    again = stratified_holdout(labels, share, seed)
    assert np.array_equal(again[0], kept)


def test_mean_and_std_are_those_of_the_training_pixels():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 6, 5, 3)).astype(np.uint8)
    split = Split(images, np.zeros(50, np.int32))
    empty = Split(images[:0], np.zeros(0, np.int32))
    mean, std = Dataset("random", ("a",), split, empty, empty).mean_std()
    pixels = images.reshape(-1, 3).astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), st.integers(1, 300))
def test_an_epochs_order_is_a_permutation_by_seed_and_epoch(seed, epoch, size):
    order = epoch_order(seed, epoch, size)
    assert sorted(order) == list(range(size))
    assert np.array_equal(order, epoch_order(seed, epoch, size))
    if size > 20:
        assert not np.array_equal(order, epoch_order(seed, epoch + 1, size))


@given(st.integers(1, 100), st.integers(1, 40))
def test_evaluation_sees_every_example_once(size, batch_size):
    batches = list(eval_batches(size, batch_size))
    assert all(len(indices) == len(mask) == batch_size for indices, mask in batches)
    assert [i for indices, mask in batches for i in indices[mask]] == list(range(size))
    assert all(indices.max() < size for indices, _ in batches)


def test_gather_picks_images_with_their_labels():
    images = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1)
    indices = jnp.asarray([3, 0, 3])
    batch = gather(jnp.asarray(images), jnp.arange(5), indices, jnp.asarray([True, True, False]))
    np.testing.assert_array_equal(batch["image"], images[[3, 0, 3]])
    assert batch["label"].tolist() == [3, 0, 3]
    assert batch["mask"].tolist() == [True, True, False]
    assert batch["index"].tolist() == [0, 1, 2]
