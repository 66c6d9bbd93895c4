"""Folders of one's own images: layouts, what is wrong with them, by name, and that a second start decodes nothing."""

import os
import shutil
import warnings
from typing import Any

import numpy as np
import pytest
from images import damage, pixels
from PIL import Image

from fcnn.config import DataConfig
from fcnn.data import decode, load, scan, streamed
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable

pytestmark = pytest.mark.usefixtures("data_folder")


def config(root, **options: Any) -> DataConfig:
    return DataConfig(name=f"folder:{root}", **{"image_size": 16, "val_fraction": 0.0, **options})


def refusal(root, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(config(root, **options))
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def names(kind: str, count: int, ext: str = "png") -> list[str]:
    return [f"{kind}/{i}.{ext}" for i in range(count)]


def test_one_level_of_classes_is_cut_in_proportion(tmp_path, draw):
    root = tmp_path / "set"
    draw(root, *names("cat", 20), *names("ant", 10))
    found = load(config(root, test_fraction=0.2))
    assert found.classes == ("ant", "cat")
    assert (found.counts(found.train).tolist(), found.counts(found.test).tolist()) == ([8, 16], [2, 4])
    assert found.train.images.shape == (24, 16, 16, 3)
    other = load(config(root, test_fraction=0.2, split_seed=1))
    assert not np.array_equal(found.test.images, other.test.images)
    assert np.array_equal(found.test.images, load(config(root, test_fraction=0.2)).test.images)
    held_out = load(config(root, test_fraction=0.2, val_fraction=0.25))
    assert np.array_equal(held_out.test.images, found.test.images)
    assert len(held_out.validation) == 6


@pytest.mark.parametrize("name", ["val", "test", "Validation"])
def test_train_and_another_split(tmp_path, draw, name):
    root = tmp_path / "set"
    draw(root, *names("train/a", 6), *names("train/b", 4), *names(f"{name}/a", 2), *names(f"{name}/b", 3))
    found = load(config(root))
    assert [found.counts(s).tolist() for s in (found.train, found.validation, found.test)] == [[6, 4], [0, 0], [2, 3]]


def test_three_splits_are_kept(tmp_path, draw):
    root = tmp_path / "set"
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        draw(root, *names(f"{split}/a", count), *names(f"{split}/b", count))
    found = load(config(root, val_fraction=0.5))
    assert [len(split) for split in (found.train, found.validation, found.test)] == [8, 4, 6]
    without = load(config(root, val_fraction=0.0))
    assert [len(split) for split in (without.train, without.validation, without.test)] == [8, 0, 6]


def test_train_alone_gives_up_a_test_split_and_may_be_a_class(tmp_path, draw):
    draw(tmp_path / "split", *names("train/a", 5), *names("train/b", 5))
    assert load(config(tmp_path / "split")).classes == ("a", "b")
    draw(tmp_path / "class", *names("train", 5), *names("tram", 5))
    assert load(config(tmp_path / "class")).classes == ("train", "tram")


def test_pixels_and_labels_belong_together(tmp_path):
    root = tmp_path / "set"
    for i in range(12):
        path = root / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i, 16, 16)).save(path)
    found = load(config(root, test_fraction=0.25))
    seen = {}
    for split in (found.train, found.test):
        for image, label in zip(split.images, split.labels, strict=True):
            (i,) = [i for i in range(12) if np.array_equal(image, pixels(i, 16, 16))]
            seen[i] = label
    assert seen == {i: i % 3 for i in range(12)}


def test_gray_sets_have_one_channel_and_mixed_ones_three(tmp_path, draw):
    root = tmp_path / "set"
    for i in range(8):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)[..., 0].astype(np.uint16) * 256 if i % 3 else pixels(i)[..., 0]).save(path)
    assert load(config(root)).train.images.shape[1:] == (16, 16, 1)
    draw(root, "a/color.png")
    assert load(config(root)).train.images.shape[1:] == (16, 16, 3)


def test_damaged_files_stop_everything_by_name_or_are_skipped_and_counted(tmp_path, draw):
    root = tmp_path / "set"
    draw(root, *names("a", 10), *names("b", 10))
    bad = damage(root)
    assert len(bad) == 20
    message = refusal(root)
    assert message.startswith(f"20 of the 40 files in {root} can't be used: a/half.jpg (damaged: ")
    assert "and 10 more" in message
    assert "--data.on-bad-image skip" in message
    found = load(config(root, on_bad_image="skip", test_fraction=0.2))
    assert sorted(entry.rsplit(" (")[0] for entry in found.skipped) == sorted(bad)
    assert len(found.train) + len(found.test) == 20
    reasons = "\n".join(found.skipped)
    for words in ("zero.jpg (zero bytes)", "bomb.png (a decompression bomb)",
                  "circle.jpg (a link to nothing)", "dangling.jpg (a link to nothing)",
                  "text.jpg (not an image that Pillow can read)"):  # fmt: skip
        assert words in reasons


def test_structure_that_cannot_be_learned_from_is_refused_by_name(tmp_path, draw):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no folder of images: put the images of each class into" in refusal(tmp_path / "empty")
    draw(tmp_path / "single", *names("only", 5))
    assert "a single class, only" in refusal(tmp_path / "single")
    draw(tmp_path / "hole", *names("a", 5), *names("b", 5))
    (tmp_path / "hole/barren").mkdir()
    assert "without a readable training image: barren" in refusal(tmp_path / "hole")
    draw(tmp_path / "late", *names("train/a", 5), *names("train/b", 5), *names("test/a", 2), *names("test/new", 2))
    assert "without a readable training image: new" in refusal(tmp_path / "late")
    draw(tmp_path / "twice", *names("train/a", 2), *names("train/b", 2), *names("val/a", 2), *names("valid/a", 2))
    assert "several folders for one split: val, valid" in refusal(tmp_path / "twice")


def test_what_is_doubtful_is_told_by_name(tmp_path, draw):
    root = tmp_path / "set"
    draw(root, *names("train/a", 9), *names("train/b", 2), *names("test/a", 3))
    draw(root, "train/c/0.png", "extra/x/1.png", "train/a/inner/2.png")
    (root / "train/a/readme.txt").write_text("hello")
    (root / "train/a/.hidden.png").write_text("nothing")
    (root / "train/a/Thumbs.db").write_text("nothing")
    shutil.copy(root / "train/a/0.png", root / "test/a/leak.png")
    Image.open(root / "train/a/1.png").save(root / "test/a/again.jpg", quality=60)
    shutil.copy(root / "train/a/2.png", root / "train/b/other.png")
    Image.open(root / "train/a/3.png").save(root / "train/b/wrong.jpg", "PNG")
    notes = "\n".join(load(config(root)).notes)
    assert "2 images are in two splits" in notes
    assert "train/a/0.png = test/a/leak.png" in notes
    assert "train/a/1.png ~ test/a/again.jpg" in notes
    assert "2 images have two labels" in notes
    assert "train/a/2.png = train/b/other.png" in notes
    assert "train/b/wrong.jpg (is PNG)" in notes
    assert "without an image in the test split: b, c" in notes
    assert "from 1 (c) to 9 (a) images" in notes
    assert "not read: extra" in notes
    assert "folders inside a class are not read: train/a/inner" in notes
    assert "1 files are no image by their name, or in no class, and are not read: train/a/readme.txt" in notes
    assert "hidden" not in notes


def test_our_own_cut_keeps_an_image_and_its_copies_on_one_side(tmp_path, draw):
    root = tmp_path / "set"
    draw(root, *names("a", 20), *names("b", 20))
    for i in range(20):
        Image.open(root / f"a/{i}.png").save(root / f"a/copy{i}.jpg", quality=90)
    for seed in range(5):
        found = load(config(root, test_fraction=0.3, split_seed=seed))
        assert len(found.test) >= 6
        train, test = (split.images.astype(int) for split in (found.train, found.test))
        nearest = abs(test[:, None] - train[None]).mean(axis=(2, 3, 4)).min()
        assert nearest > 10


def test_hostile_names(tmp_path, draw):
    root = tmp_path / "my set"
    draw(root, "a b/1 2.png", "a b/\nnew\nline.png", "ünï/日本.png", "ünï/[bold]x.png", "ünï/--out.png")
    draw(root, "a b/" + "x" * 200 + ".png")
    strange = os.fsdecode(b"a b/\xff\xfe.png")
    (root / strange).write_bytes(b"broken")
    message = refusal(root)
    assert all(line.isprintable() for line in message.split("\n"))
    assert r"\xff\xfe.png" in message
    message.encode()
    assert len(load(config(root, on_bad_image="skip")).train) >= 4
    assert printable("a\nb\x1b[31m日") == r"a\nb\x1b[31m日"
    # One class, though one file system takes the accents apart.
    draw(tmp_path / "two", "train/e\u0301/1.png", "train/b/1.png", "test/\u00e9/1.png", "test/b/2.png")
    assert load(config(tmp_path / "two")).classes == ("b", "\u00e9")


def test_a_second_start_opens_no_image_and_a_changed_file_is_seen(tmp_path, draw, monkeypatch):
    root = tmp_path / "set"
    draw(root, *names("a", 5), *names("b", 5))
    opened = []

    def spy(source, **options):
        opened.append(source)
        return decode.open_image(source, **options)

    monkeypatch.setattr(scan, "open_stored", spy)
    monkeypatch.setattr(streamed, "open_image", spy)
    first = load(config(root))
    assert len(opened) == 20  # looked at, then decoded
    opened.clear()
    again = load(config(root, split_seed=1, val_fraction=0.2))
    assert not opened
    assert len(again.train) == 6
    load(config(root, image_size=8))
    assert len(opened) == 10  # another size is decoded, and looked at no more
    opened.clear()
    draw(root, "a/0.png")
    changed = load(config(root))
    assert len(opened) == 11
    assert first.train.images.shape == changed.train.images.shape
    (root / "b/0.png").write_bytes(b"broken later")
    assert "b/0.png" in refusal(root)


def test_the_flowers_with_twenty_damaged_files(real, tmp_path):
    root = tmp_path / "flowers"
    for kind in ("daisy", "rose", "tulip"):
        (root / kind).mkdir(parents=True)
        for path in sorted((real / "flowers" / kind).iterdir())[:100]:
            shutil.copy(path, root / kind)
    bad = damage(root)
    for name in bad:
        shutil.move(root / name, root / "daisy" / name.replace("/", "-"))
    (root / "a").rmdir()
    (root / "b").rmdir()
    assert "20 of the 320 files" in refusal(root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load(config(root, on_bad_image="skip", image_size=None))
    assert len(found.skipped) == 20
    assert found.train.images.shape[1:] == (128, 128, 3)
    assert len(found.train) + len(found.test) == 300
