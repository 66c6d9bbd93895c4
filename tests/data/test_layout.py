"""Folders as people have them: links, other names of splits, a folder around it all, archives, HEIC, any bytes."""

import os
from typing import Any

import pytest
from PIL import Image

from fcnn.cli.photos import folder_of
from fcnn.config import Config, DataConfig
from fcnn.data import decode, load
from fcnn.training import workdir
from fcnn.training.notes import few_images
from fcnn.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("data_folder")


def config(root, **options: Any) -> DataConfig:
    return DataConfig(name=f"folder:{root}", **{"image_size": 16, "val_fraction": 0.0, **options})


def refusal(root, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(config(root, **options))
    return str(caught.value)


def names(kind: str, count: int, ext: str = "png") -> list[str]:
    return [f"{kind}/{i}.{ext}" for i in range(count)]


def test_links_are_followed_and_named_where_they_lead_out(tmp_path, draw):
    draw(tmp_path / "store", *names("cats", 6), *names("dogs", 5), "single.png")
    root = tmp_path / "set"
    draw(root, *names("bird", 4))
    (root / "cat").symlink_to(tmp_path / "store/cats")
    (root / "dog").symlink_to("../store/dogs")
    (root / "bird/linked.png").symlink_to(tmp_path / "store/single.png")
    (root / "bird/inside.png").symlink_to("0.png")
    found = load(config(root))
    assert found.classes == ("bird", "cat", "dog")
    assert (found.counts(found.train) + found.counts(found.test)).tolist() == [6, 6, 5]
    (note,) = [note for note in found.notes if "links" in note]
    assert note.startswith("3 links lead out of the folder, followed: bird/linked.png -> ")
    assert f"cat -> {tmp_path / 'store/cats'}" in note
    (tmp_path / "link").symlink_to(root)
    assert load(config(tmp_path / "link")).classes == found.classes


def test_links_in_a_circle_or_to_what_is_no_file_are_refused_by_name(tmp_path, draw):
    root = tmp_path / "set"
    draw(root, *names("a", 5), *names("b", 5))
    (root / "c").symlink_to(root)
    assert "c (a link to a folder that it is in)" in refusal(root)
    (root / "c").unlink()
    (root / "c").symlink_to("c")
    assert "c (a link to nothing)" in refusal(root)
    assert load(config(root, on_bad_image="skip")).classes == ("a", "b")
    (root / "c").unlink()
    (root / "a/zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "b/pipe.png")
    message = refusal(root)
    assert "a/zero.png (not a file)" in message
    assert "b/pipe.png (not a file)" in message


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("Training", "valid", "Testing"), ("TRAIN", "Validation", "TEST"), ("training", "val", "test")],
)
def test_splits_by_the_names_that_people_give_them(tmp_path, draw, train, validation, test):
    for split, count in ((train, 4), (validation, 2), (test, 3)):
        draw(tmp_path / "set", *names(f"{split}/a", count), *names(f"{split}/b", count))
    found = load(config(tmp_path / "set", val_fraction=0.5))
    assert [len(split) for split in (found.train, found.validation, found.test)] == [8, 4, 6]


def test_which_folder_plays_which_part_without_a_test_split(tmp_path, draw):
    draw(tmp_path, *(name for s in ("train", "valid") for k in "ab" for name in names(f"set/{s}/{k}", 10)))
    (note,) = load(config(tmp_path / "set", val_fraction=0.1)).notes
    assert note == (
        "there is no test split: the validation images are used as one, read once at the end; 10 % of the training "
        "images are held out for validation"
    )
    draw(tmp_path, *(name for k in "ab" for name in names(f"set/test/{k}", 3)))
    assert load(config(tmp_path / "set")).notes == ()


DEEPER = "has no images in the folders right below it; did you mean folder:{}/"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("animals/cat/1.jpg", "animals/dog/1.jpg"), DEEPER + "animals?"),
        (("data/x/cat/1.jpg", "data/x/dog/1.jpg", "data/readme.md"), DEEPER + "data/x?"),
        (("data/train/a/1.jpg", "data/train/b/1.jpg", "data/val/a/1.jpg", "data/val/b/1.jpg"), DEEPER + "data?"),
        (("p/a/1.jpg", "p/b/1.jpg", "q/a/1.jpg", "q/b/1.jpg"), DEEPER + "p or folder:{}/q?"),
        (
            ("1.jpg", "2.PNG", "notes.txt"),
            "has images and no folder of a class: put the images of each class into a folder",
        ),
        (("photos.zip",), "has archives (photos.zip) and no folder of images: unpack them"),
        (("train/1.jpg", "test/2.jpg"), "has test/, train/ alone; it needs train/ with a folder for each class"),
        (("test/a/1.jpg", "test/b/2.jpg"), "has test/ alone; it needs train/"),
        (("a/1.jpg", "b/c/1.jpg"), "without a readable training image: b; add images or remove their folders"),
    ],
)
def test_the_error_says_where_the_images_are(tmp_path, files, message):
    root = tmp_path / "my set"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name, "PNG")
    said = refusal(root)
    assert message.replace("{}", str(root)) in said
    assert len(said.splitlines()) <= 2
    if "b/c/1.jpg" in files:
        assert said.endswith("Folders inside a class are not read: b/c")


def test_a_file_in_the_place_of_a_folder(tmp_path, draw):
    draw(tmp_path, "a.png")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert "photos.zip is an archive: unpack it" in refusal(tmp_path / "photos.zip")
    assert "a.png is a file, not a folder" in refusal(tmp_path / "a.png")
    with pytest.raises(UserError, match="is an archive: unpack it"):
        folder_of([str(tmp_path / "photos.zip")])
    with pytest.raises(ValueError, match=f"is a path: write folder:{tmp_path}"):
        DataConfig(name=str(tmp_path))


@pytest.mark.skipif("HEIF" in Image.OPEN, reason="pillow-heif is installed here")
def test_heic_is_an_error_that_names_what_reads_it(tmp_path, draw):
    root = tmp_path / "set"
    draw(root, *names("a", 5), *names("b", 5))
    start = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)
    for name in ("a/IMG_1.HEIC", "b/IMG_2.jpg"):  # a telephone's image keeps its content under another name
        (root / name).write_bytes(start)
    message = refusal(root)
    assert "2 of the 12 files" in message
    assert "a/IMG_1.HEIC (HEIC, which Pillow can't read: pip install -e '.[heif]', or convert it to JPEG)" in message
    assert "b/IMG_2.jpg (HEIC, " in message
    with pytest.raises(decode.BadImage, match=r"HEIC, which Pillow can't read"):
        decode.open_image(root / "a/IMG_1.HEIC")


def test_avif_is_read_or_refused_by_name(tmp_path, draw):
    root = tmp_path / "set"
    draw(root, *names("a", 5), *names("b", 5))
    if "AVIF" in Image.OPEN:
        draw(root, "a/x.avif")
        assert load(config(root)).files.startswith("PNG, AVIF")
    else:
        (root / "a/x.avif").write_bytes(b"\0\0\0 ftypavif" + bytes(20))
        assert "AVIF, which this version of Pillow can't read: pip install --upgrade pillow" in refusal(root)


def test_a_class_whose_name_is_no_text_has_one_that_can_be_written(tmp_path, draw):
    root = tmp_path / os.fsdecode(b"se\xfft")
    draw(root, *names(os.fsdecode(b"caf\xe9"), 5), *names("a\nb", 5))
    assert load(config(root)).classes == (r"a\nb", r"caf\xe9")


def test_few_validation_images_are_said_to_be_few():
    # Wilson's interval of 8 of 10: 0.4902 to 0.9433 (R, binom::binom.wilson).
    assert "8 of 10 right is an accuracy with a 95 % CI of 49 to 94 %" in few_images(10)


def test_a_run_s_folder_that_is_not_utf_8_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="is not UTF-8, which checkpoints need"):
        workdir.check(tmp_path / os.fsdecode(b"r\xfan"), Config())
    assert list(tmp_path.iterdir()) == []


def test_names_in_other_bytes_are_printed_whatever_the_output_s_encoding(tmp_path, fcnn):
    name = os.fsdecode(b"folder:n\xf6")
    for encoding in ("ascii", "utf-8"):
        ended = fcnn("data", "prepare", name, cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
        assert ended.returncode == 2
        assert r"n\xf6: there is no such folder" in ended.stderr
