"""Files that appear whole and on disk."""

import os

import pytest

from fcnn.utils import files
from fcnn.utils.errors import UserError
from fcnn.utils.files import write_bytes


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_what_cannot_be_written_is_named_and_leaves_what_was_there(tmp_path, monkeypatch, failing):
    def fail(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "config.json"
    write_bytes(path, b"before")
    with monkeypatch.context() as patch:
        patch.setattr(files.os if failing == "fsync" else files.Path, failing, fail)
        with pytest.raises(UserError, match=r"config.json can't be written: No space left on device"):
            write_bytes(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
def test_a_file_and_then_its_name_are_on_disk(tmp_path, monkeypatch):
    """In the order that a power cut at any moment leaves the old or the new one."""
    done: list[str] = []
    fsync, replace = os.fsync, files.Path.replace
    monkeypatch.setattr(
        files.os, "fsync", lambda number: done.append(os.readlink(f"/proc/self/fd/{number}")) or fsync(number)
    )
    monkeypatch.setattr(files.Path, "replace", lambda old, new: done.append("named") or replace(old, new))
    write_bytes(tmp_path / "a", b"1")
    file, name, folder = done
    assert file.startswith(f"{tmp_path}/.fcnn-")
    assert (name, folder) == ("named", str(tmp_path))


def test_a_file_of_a_folder_that_cannot_be_kept_is_named(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    (tmp_path / "a").touch()
    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        files.sync_tree(tmp_path)
    assert caught.value.filename == str(tmp_path / "a")
