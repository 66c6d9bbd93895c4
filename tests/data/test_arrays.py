"""Data sets of a caller's own arrays: the cuts of every other set, the pixels that were passed, and clear refusals."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.config import DataConfig
from fcnn.data import Split, Streamed, from_arrays, load
from fcnn.utils.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(60) % 3


def same(a, b) -> bool:
    return np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)


def test_arrays_are_cut_as_a_named_set_is():
    whole, digits = load(DataConfig(val_fraction=0.0)), load(DataConfig())
    test = (digits.test.images, digits.test.labels)
    ours = from_arrays(whole.train.images, whole.train.labels, test=test)
    assert ours.classes == digits.classes
    for split in ("train", "validation", "test"):
        assert same(getattr(ours, split), getattr(digits, split))
    assert np.array_equal(ours.mean_std(), digits.mean_std())


@given(st.integers(0, 1000), st.floats(0, 0.5), st.floats(0.1, 0.5))
def test_the_splits_partition_the_images_in_proportion(seed, val_fraction, test_fraction):
    options = {"val_fraction": val_fraction, "test_fraction": test_fraction, "split_seed": seed}
    dataset = from_arrays(IMAGES, LABELS, **options)
    splits = dataset.train, dataset.validation, dataset.test
    assert len(dataset.test) == round(test_fraction * 60)
    assert len(dataset.validation) == round(val_fraction * (60 - len(dataset.test)))
    originals = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    assert len(originals) == 60
    pairs = [(image.tobytes(), label) for split in splits for image, label in zip(split.images, split.labels)]  # noqa: B905
    assert len(pairs) == 60
    assert dict(pairs) == originals
    assert all(np.ptp(dataset.counts(split)) <= 2 for split in splits)
    assert from_arrays(IMAGES, LABELS, **options).facts() == dataset.facts()


def test_splits_that_are_passed_stay_as_they_are():
    pair = (IMAGES[:9], LABELS[:9])
    dataset = from_arrays(IMAGES, LABELS, validation=pair, test=(IMAGES[9:15], LABELS[9:15]))
    assert same(dataset.train, Split(IMAGES, LABELS))
    assert same(dataset.validation, Split(*pair))
    assert dataset.train.labels.dtype == np.int32
    cut = from_arrays(IMAGES, LABELS, validation=pair)
    assert (len(cut.train), len(cut.validation), len(cut.test)) == (48, 9, 12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_become_the_pixels_that_they_came_from(dtype):
    dataset = from_arrays((IMAGES / 255).astype(dtype), LABELS)
    assert dataset.facts() == from_arrays(IMAGES, LABELS).facts()


def test_gray_images_and_a_column_of_labels_are_what_keras_returns():
    gray = from_arrays(IMAGES[..., 0], LABELS[:, None].astype(np.uint8))
    assert gray.facts() == from_arrays(IMAGES[..., :1], LABELS).facts()
    assert gray.train.shape == (6, 5, 1)


def test_a_memory_mapped_array_is_streamed(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = from_arrays(np.load(tmp_path / "images.npy", mmap_mode="r"), LABELS)
    assert isinstance(mapped.train, Streamed)
    assert mapped.pipeline == "stream"
    assert mapped.facts() | {"pipeline": ""} == from_arrays(IMAGES, LABELS).facts() | {"pipeline": ""}


def test_a_run_takes_no_other_arrays():
    facts = json.loads(json.dumps(from_arrays(IMAGES, LABELS).facts()))
    changed, swapped = IMAGES.copy(), LABELS.copy()
    changed[41, 2, 2, 1] ^= 1
    swapped[[0, 1]] = swapped[[1, 0]]
    assert from_arrays(IMAGES.copy(), LABELS).as_in(facts, "here").normalization is not None
    for images, labels, seed in ((changed, LABELS, 0), (IMAGES, swapped, 0), (IMAGES, LABELS, 1)):
        with pytest.raises(UserError, match=r"^arrays has changed since the run in here began: (pixels|labels)$"):
            from_arrays(images, labels, split_seed=seed).as_in(facts, "here")


def test_a_class_without_an_image_is_a_note():
    assert from_arrays(IMAGES, LABELS, classes=["a", "b", "c", "d"]).notes == (
        "classes without an image in the train split: d",
    )


def test_normalization_is_by_channel():
    dataset = from_arrays(IMAGES, LABELS, mean=0.5, std=[0.1, 0.2, 0.3])
    np.testing.assert_array_equal(dataset.mean_std(), np.asarray([[0.5] * 3, [0.1, 0.2, 0.3]], np.float32))


NAN = np.where(np.arange(60)[:, None, None, None] == 59, np.nan, IMAGES / 255)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": IMAGES[0, ..., 0]}, r"images must be (N, H, W, C) or (N, H, W), got (6, 5)"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, r"channels come last, images.transpose(0, 2, 3, 1)"),
        ({"images": IMAGES[..., :2]}, "images must have 1 or 3 channels, got (60, 6, 5, 2)"),
        ({"images": IMAGES[:0]}, "images have no pixels"),
        ({"images": IMAGES.astype(int)}, "images must be uint8, or floats in [0, 1], got int64"),
        ({"images": IMAGES * 1.0}, "got floats from 0 to 255"),
        ({"images": NAN}, "got floats from nan to nan"),
        ({"images": -NAN[:59], "labels": LABELS[:59]}, "got floats from -1 to -0"),
        ({"images": [[1, 2], [3]]}, "images must be an array"),
        ({"labels": LABELS[:-1]}, "there are 60 images and 59 labels"),
        ({"labels": LABELS / 1}, "labels must be integers, got float64"),
        ({"labels": np.eye(3)[LABELS]}, "labels.argmax(axis=1)"),
        ({"labels": LABELS - 1}, "labels must be from 0 to the number of classes - 1, got -1 to 1"),
        ({"labels": LABELS + 2**40}, "labels must be from 0 to the number of classes - 1"),
        ({"labels": LABELS + 1}, "no image has the label [0]"),
        ({"labels": LABELS * 0}, "there must be at least two classes, got 1"),
        ({"classes": ["a", "b"]}, "labels go up to 2, with 2 classes"),
        ({"classes": ["a", "b", "a"]}, "classes has a name twice"),
        ({"classes": "abc"}, "classes must be a list of names"),
        ({"classes": [0, 1, 2]}, "classes must be a list of names"),
        ({"test": (IMAGES[:, 1:], LABELS)}, "images are (6, 5, 3) and test images (5, 5, 3)"),
        ({"test": (IMAGES, LABELS + 1)}, "test labels go up to 3, with 3 classes"),
        ({"validation": (IMAGES[:5], LABELS)}, "there are 5 validation images and 60 validation labels"),
        ({"validation": IMAGES}, "validation must be a pair, (images, labels), got ndarray"),
        ({"val_fraction": 1}, "val_fraction must be from 0 to 0.9, got 1"),
        ({"test_fraction": 0}, "test_fraction must be from 0.001 to 0.9, got 0"),
        ({"test_fraction": 0.001}, "there are too few images for a training and a test split"),
        ({"mean": 0.5}, "mean and std go together"),
        ({"mean": 0.5, "std": 0.0}, "std must be a number for each of 3 channels"),
        ({"mean": [0.5, 0.5], "std": 0.2}, "mean must be a number for each of 3 channels"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    with pytest.raises(UserError) as error:
        from_arrays(**{"images": IMAGES, "labels": LABELS} | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_data_set_is_shown_in_a_line():
    text = repr(from_arrays(np.zeros((20, 5, 6, 3), np.uint8), np.arange(20) % 2, classes=["a", "b"]))
    assert re.fullmatch(r"Dataset\('.*', 2 classes, \d+ train, \d+ validation, \d+ test images of 5 x 6 x 3\)", text)
