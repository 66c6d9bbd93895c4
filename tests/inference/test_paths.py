"""What a user names, as files; what was answered, as folders of links."""

import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.inference.paths import image_files
from fcnn.inference.sort_into import SortedFolder, folder_name
from fcnn.utils.errors import UserError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with images in folders, and what isn't one."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "p/b.jpg",
        "p/a.PNG",
        "p/deep/er/c.webp",
        "p/deep/d.jpeg",
        "p/notes.txt",
        "p/.hidden.jpg",
        "p/.x/e.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "p/deep/circle").symlink_to(tmp_path / "p")
    (tmp_path / "empty").mkdir()
    (tmp_path / "what[1]*.jpg").touch()
    return tmp_path


def names(*arguments, **options):
    return [path.as_posix() for path in image_files(arguments, **options)]


def test_folders_and_patterns_are_the_images_in_them(photos):
    inside = ["p/a.PNG", "p/b.jpg", "p/deep/d.jpeg", "p/deep/er/c.webp"]
    assert names("p") == inside
    assert names("p/b.jpg", "p", "nowhere.jpg") == ["p/b.jpg", *inside, "nowhere.jpg"]
    assert names("p/*.jpg", "p/**/*.webp", "p/deep/e?") == ["p/b.jpg", "p/deep/er/c.webp", "p/deep/er/c.webp"]
    assert names("what[1]*.jpg", "empty", "nothing*") == ["what[1]*.jpg", "empty", "nothing*"]  # reading says why
    assert names("p", skip=photos / "p/deep") == inside[:2]


def test_standard_input_is_a_list(photos, monkeypatch):
    lines = b"p/b.jpg\r\n\nnowhere \xff.jpg\np/deep/er"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert names("x.png", "-") == ["x.png", "p/b.jpg", os.fsdecode(b"nowhere \xff.jpg"), "p/deep/er/c.webp"]


def test_nothing_is_overwritten(photos):
    folder = SortedFolder(photos / "out")
    for name in ("p/b.jpg", "p/deep/d.jpeg", "p/b.jpg"):
        folder.add(photos / name, "cat")
    (photos / "other").mkdir()
    (photos / "other/b.jpg").write_bytes(b"another")
    assert SortedFolder(photos / "out").add(photos / "other/b.jpg", "cat").name == "b-2.jpg"  # again, into the same
    found = {path.name: path.read_bytes() for path in (photos / "out/cat").iterdir()}
    assert found == {"b.jpg": b"p/b.jpg", "d.jpeg": b"p/deep/d.jpeg", "b-2.jpg": b"another"}
    assert all(path.is_symlink() for path in (photos / "out/cat").iterdir())
    with pytest.raises(UserError, match="is not empty"):
        SortedFolder(photos / "p")
    with pytest.raises(UserError, match="can't be used: "):
        SortedFolder(photos / "p/b.jpg")


def test_where_links_can_not_be_made_images_are_copied(photos, monkeypatch):
    def refuse(*_):
        raise OSError(1, "not here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    folder = SortedFolder(photos / "out")
    (photos / "other").mkdir()
    (photos / "other/b.jpg").write_bytes(b"another")
    for name in ("p/b.jpg", "other/b.jpg", "p/b.jpg"):
        folder.add(photos / name, "cat")
    found = {path.name: path.read_bytes() for path in (photos / "out/cat").iterdir()}
    assert found == {"b.jpg": b"p/b.jpg", "b-2.jpg": b"another"}
    with pytest.raises(UserError, match="can't be linked to from"):
        folder.add(photos / "gone.jpg", "cat")


@given(st.text(max_size=20) | st.sampled_from(["..", "../../etc", "/", "a/b", "C:\\x", ". .", "\0"]))
def test_a_class_is_a_folder_below_whatever_its_name(name):
    folder = folder_name(name)
    assert folder
    assert folder not in (".", "..")
    assert not set(folder) & set("/\\:\0\n")
