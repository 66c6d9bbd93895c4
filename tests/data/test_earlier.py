"""Images that are added later: whatever happens to the files, none is trained on in one run and tested in another."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig
from fcnn.data import load
from fcnn.data.earlier import known_splits
from fcnn.data.manifest import SPLITS, UNUSED, Manifest
from fcnn.data.splits import cut_splits
from fcnn.report import Console
from fcnn.training import evaluate, trainer
from fcnn.utils.errors import UserError


@pytest.fixture
def photos(tmp_path, draw):
    """Twenty photographs of each of two kinds."""
    draw(tmp_path / "photos", *(f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(20)))
    return tmp_path / "photos"


@pytest.fixture
def look(photos):
    """Loads the folder as a run would that goes on from the manifest of an earlier one."""

    def loaded(earlier: Manifest | None = None, **fields):
        splits = photos.parent / "before/splits.csv"
        if earlier is not None:
            splits.parent.mkdir(exist_ok=True)
            splits.write_bytes(earlier.to_csv())
        config = DataConfig(name=f"folder:{photos}", image_size=8, splits=str(splits) if earlier else None, **fields)
        dataset = load(config)
        assert dataset.manifest is not None
        return dataset, dataset.manifest

    return loaded


def by_hash(manifest):
    return {row.hash: row.split for row in manifest.rows}


def counts(manifest, name=None):
    return [sum(row.split == split and name in (None, row.name) for row in manifest.rows) for split in SPLITS]


def test_whatever_happens_to_the_files_each_stays_in_its_split(photos, look, draw):
    _, before = look()
    test, train = before.paths("test"), before.paths("train")
    (photos / test[0]).rename(photos / "cat/renamed.png")
    moved = photos / ("dog" if train[0].startswith("cat") else "cat") / "corrected.png"
    (photos / train[0]).rename(moved)
    (photos / train[1]).unlink()
    (photos / test[1]).unlink()
    Image.open(photos / test[2]).transpose(Image.Transpose.ROTATE_180).save(photos / test[2])
    Image.open(photos / train[2]).resize((20, 16)).save(photos / "dog/copy.jpg", quality=70)
    draw(photos, *(f"cat/new{i}.png" for i in range(20)), *(f"cow/{i}.png" for i in range(10)))
    dataset, after = look(before)
    old, new = by_hash(before), by_hash(after)
    assert len(new.keys() & old.keys()) == 37
    assert all(new[one] == old[one] for one in new.keys() & old.keys())
    places = {row.path: row.split for row in after.rows}
    assert places["cat/renamed.png"] == places[test[2]] == "test"
    assert places[moved.relative_to(photos).as_posix()] == places["dog/copy.jpg"] == "train"
    # What is new is cut as a set of its own would be.
    added = Manifest(tuple(row for row in after.rows if row.path.startswith(("cat/new", "cow"))))
    assert counts(added, "cow") == [7, 1, 2]
    assert counts(added) == [22, 2, 6]
    changed, new_classes, sizes = dataset.notes[:3]
    assert changed == (
        "since before: 31 added, 2 removed, 1 edited, 1 with another label "
        f"({moved.relative_to(photos).as_posix()} was {train[0][:3]}), 1 renamed"
    )
    assert new_classes == "classes that are new: cow"
    assert sizes.startswith(f"images: train {len(train)} -> {counts(after)[0]}, validation ")
    # The same again is the same, and a third run remembers what the first one was trained on.
    assert look(before)[1] == after
    assert {(row.split, row.path) for row in after.earlier} >= {("train", train[1]), ("test", test[1])}
    for path in (train[1], test[1]):
        source = next(row for row in before.rows if row.path == path)
        assert Manifest.from_csv(after.to_csv(), "").earlier == after.earlier
        assert source in after.earlier


def test_what_comes_back_is_still_known(photos, look):
    _, first = look()
    kept = photos.parent / "kept"
    for split in ("train", "test"):
        for path in first.paths(split)[:3]:
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            (photos / path).rename(kept / path)
    _, second = look(look(first)[1])
    assert len(second.rows) == len(first.rows) - 6
    shutil.copytree(kept, photos, dirs_exist_ok=True)
    _, third = look(second)
    assert by_hash(third) == by_hash(first)
    assert not third.earlier
    assert look(third)[0].notes[0] == "since before: the same images"


def test_a_new_image_under_an_old_name_is_new_if_the_old_one_is_still_there(photos, look, draw):
    _, before = look()
    for i, path in enumerate(before.paths("test")):
        (photos / path).rename((photos / path).with_name(f"other {i}.png"))
    draw(photos, *before.paths("test"))
    dataset, after = look(before)
    assert dataset.notes[0] == "since before: 8 added, 8 renamed"
    added = [row for row in after.rows if row.path in before.paths("test")]
    assert counts(Manifest(tuple(added))) == [5, 1, 2]


def test_a_corrected_label_is_told_and_a_copy_in_another_class_is_not(photos, look, tmp_path):
    shutil.copy(photos / "cat/3.png", photos / "dog/same as cat 3.png")
    _, before = look()
    (tmp_path / "list.csv").write_text("path,label\ncat/7.png,dog\ncat/8.png,-\n")
    dataset, after = look(before, corrections=str(tmp_path / "list.csv"))
    assert dataset.notes[0] == "since before: 1 removed, 1 with another label (cat/7.png was cat)"
    assert by_hash(before).items() - by_hash(after).items() == {
        (row.hash, row.split) for row in before.rows if row.path == "cat/8.png"
    }
    assert [row.path for row in after.earlier] == ["cat/8.png"]


def test_without_validation_before_training_images_are_free_for_it(look):
    _, before = look(val_fraction=0.0)
    _, after = look(before, val_fraction=0.25)
    assert counts(before) == [32, 0, 8]
    assert counts(after) == [24, 8, 8]
    assert after.paths("test") == before.paths("test")
    _, again = look(after, val_fraction=0.0)  # and what was held out stays held out
    assert again == after


def test_folders_of_splits_must_agree_with_the_past(photos, look, tmp_path):
    _, before = look()
    for row in before.rows:
        place = photos / ("test" if row.split == "test" else "train") / row.path
        place.parent.mkdir(parents=True, exist_ok=True)
        (photos / row.path).rename(place)
    for name in ("cat", "dog"):
        (photos / name).rmdir()
    assert by_hash(look(before)[1]) == by_hash(before)
    path = before.paths("train")[0]
    (photos / "train" / path).rename(photos / "test" / path)
    with pytest.raises(UserError, match=rf"^1 images are in another split than in .*: test/{path} was in train\nMove"):
        look(before)
    (photos / "test" / path).rename(photos / "train" / path)
    path = before.paths("test")[0]
    (photos / "test" / path).rename(photos / "train" / path)
    with pytest.raises(UserError, match=rf"^1 images are in another split than in .*: train/{path} was in test\nMove"):
        look(before)


@given(st.lists(st.tuples(st.sampled_from(["", *SPLITS]), st.integers(0, 6)), min_size=1, max_size=40), st.data())
def test_a_copy_goes_where_the_original_is_and_nowhere_if_there_are_several(images, data):
    past, groups = [{split} - {""} for split, _ in images], np.asarray([group for _, group in images])
    known = known_splits(past, groups)
    for i, splits in enumerate(past):
        seen = set().union(*(past[j] for j in np.flatnonzero(groups == groups[i])))
        assert known[i] == (min(splits) if splits else "" if not seen else UNUSED if len(seen) > 1 else min(seen))
    labels = np.asarray(data.draw(st.lists(st.integers(0, 2), min_size=len(images), max_size=len(images))))
    places = {split: part for split, (_, part) in cut_splits(DataConfig(), {"train": labels}, groups, known).items()}
    assert sorted(np.concatenate(list(places.values()))) == np.flatnonzero(known != UNUSED).tolist()
    for split, part in places.items():
        fixed = {split, ""} | ({"train"} if split == "validation" and "validation" not in known else set())
        assert set(known[part]) <= fixed


def test_a_run_has_its_splits_in_its_folder(photos, look, draw, tmp_path):
    """Evaluating and resuming it need nothing of the earlier run."""
    _, before = look()
    draw(photos, *(f"cat/new{i}.png" for i in range(10)))
    _, after = look(before)
    data = DataConfig(name=f"folder:{photos}", image_size=8, splits=str(tmp_path / "before/splits.csv"))
    train = TrainConfig(steps=2, batch_size=8, eval_batch_size=8)
    config = Config(data=data, model=ModelConfig(name="linear"), train=train)
    run = tmp_path / "run"
    trainer.train(config, run, Console(), test=False)
    shutil.rmtree(tmp_path / "before")
    tested = trainer.train(config, run, Console())
    assert Manifest.from_csv((run / "splits.csv").read_bytes(), "") == after
    assert tested["count"] == len(after.paths("test"))
    assert evaluate.evaluate(run, "test", Console())["loss"] == tested["loss"]
    with pytest.raises(UserError, match=r"^data.splits .*before/splits.csv can't be read: No such file or directory$"):
        trainer.train(config, tmp_path / "another", Console())


def test_only_files_have_a_past():
    with pytest.raises(ValueError, match=r"data.splits has no effect with digits; it belongs to folder:"):
        DataConfig(splits="splits.csv")
