"""Cutting splits: classes in proportion, duplicates in one split, and a word where that costs test images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import pixels
from PIL import Image

from fcnn.config import DataConfig
from fcnn.data import load
from fcnn.data.splits import cut_splits, grouped_holdout, shortages, stratified_holdout
from fcnn.utils.errors import UserError


@given(st.integers(0, 10**6), st.integers(1, 80), st.integers(1, 5), st.floats(0, 0.9), st.integers(1, 80))
def test_groups_stay_together_and_classes_keep_their_share(seed, count, classes, share, distinct):
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, classes, count), rng.integers(0, distinct, count)
    kept, held_out = grouped_holdout(labels, groups, share, seed)
    assert sorted([*kept, *held_out]) == list(range(count))
    assert not set(groups[kept]) & set(groups[held_out])
    _, wanted = stratified_holdout(labels, share, seed)
    has, due = (np.bincount(labels[part], minlength=classes) for part in (held_out, wanted))
    biggest = np.bincount(groups).max()
    assert (has <= np.maximum(due, biggest)).all()
    if (np.bincount(groups) <= 1).all():
        assert np.array_equal(held_out, wanted)
    if classes == 1 and len(np.unique(groups)) > 1 and due.any():
        assert has.all()
        assert len(kept)


def test_images_that_are_alone_make_up_for_groups_that_do_not_fit():
    labels = np.repeat([0, 1], 100)
    groups = np.arange(200)
    groups[:70] = 0  # 70 of the first class are one: too many for a fifth
    for seed in range(5):
        _, held_out = grouped_holdout(labels, groups, 0.2, seed)
        assert np.bincount(labels[held_out]).tolist() == [20, 20]
        assert not (held_out < 70).any()


def test_a_class_that_loses_test_images_is_named():
    labels, groups = np.repeat([0, 1], 20), np.arange(40)
    groups[:18] = 0
    config = DataConfig(name="folder:x", test_fraction=0.2, val_fraction=0.1)
    places = cut_splits(config, {"train": labels}, groups)
    assert {name: np.bincount(labels[places[name][1]]).tolist() for name in places} == {
        "train": [18, 15], "test": [2, 4], "validation": [0, 1],
    }  # fmt: skip
    test, validation = shortages(config, labels, groups, places, ("a", "b"))
    assert test.startswith("classes with fewer test images than their share")
    assert test.endswith("a 2 of 4")
    assert validation.endswith("a 0 of 2")
    assert shortages(config, labels, np.arange(40), cut_splits(config, {"train": labels}, None), ("a", "b")) == []


@pytest.fixture
def flat(tmp_path):
    """A folder of 40 flat images of one red and 40 of one green."""
    for color in ("red", "green"):
        (tmp_path / "set" / color).mkdir(parents=True)
        for i in range(40):
            Image.new("RGB", (16, 16), color).save(tmp_path / "set" / color / f"{i}.png")
    return tmp_path / "set"


def test_a_set_of_copies_alone_is_refused_with_the_cause(flat, data_folder):
    with pytest.raises(UserError, match="no image in its test split: only 2 of its 80 images are distinct") as found:
        load(DataConfig(name=f"folder:{flat}", image_size=16))
    assert len(str(found.value).splitlines()) == 2
    for i in range(40):  # and with images of its own, the one class is named
        Image.fromarray(pixels(i)).save(flat / f"green/{i}.png")
    found = load(DataConfig(name=f"folder:{flat}", image_size=16))
    assert found.counts(found.test).tolist() == [8, 0]
    assert any(note.endswith("stay in one split: red 0 of 8") for note in found.notes)


def test_copies_stay_out_of_validation_too(tmp_path, data_folder):
    root = tmp_path / "set"
    for i in range(40):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(path)
        Image.fromarray(pixels(i)).save(path.with_suffix(".bmp"))
    found = load(DataConfig(name=f"folder:{root}", image_size=16, val_fraction=0.3, test_fraction=0.2))
    splits = [{image.tobytes() for image in part.images} for part in (found.train, found.validation, found.test)]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 40
    assert len(found.validation) >= 16
