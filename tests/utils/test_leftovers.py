"""Temporary files: gone after errors and kills, never taken from whoever writes them."""

import os
import signal
import time

import pytest
from harness import start

from fcnn.data.stock import _remove_incomplete
from fcnn.utils import files
from fcnn.utils.errors import UserError
from fcnn.utils.files import DAY, new_file, remove_leftovers, write_bytes

WRITER = """
import sys, time
from pathlib import Path
from fcnn.utils.files import new_file
with new_file(Path("x.bin")) as path:
    path.write_bytes(b"half")
    print("WRITING", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_writer_keeps_its_file_and_a_killed_one_leaves_it_to_the_next(tmp_path):
    with start("-c", WRITER, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "WRITING\n"
        write_bytes(tmp_path / "other", b"1")
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 2
    write_bytes(tmp_path / "other", b"2")
    assert names(tmp_path) == ["other"]


def test_of_another_machine_only_what_is_old_is_removed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files, "_machine", lambda: "another")
        with new_file(tmp_path / "x") as path:
            (tmp_path / path.name.replace("another", "third")).touch()
            os.link(path, tmp_path / ".fcnn-another-1.tmp")
    remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == 3
    for path in tmp_path.glob(".*"):
        os.utime(path, (0, time.time() - DAY - 1))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["x"]


def test_an_error_leaves_what_was_there(tmp_path):
    write_bytes(tmp_path / "x", b"before")
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "x") as path:
        path.write_bytes(bytes(1 // 0))
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"before"
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder can't be written: Is a directory"):
        write_bytes(tmp_path / "folder", b"")
    assert names(tmp_path) == ["folder", "x"]


def test_a_name_as_long_as_a_disk_takes_it(tmp_path):
    write_bytes(tmp_path / ("é" * 127), b"1")
    with pytest.raises(UserError, match="File name too long"):
        write_bytes(tmp_path / ("é" * 128), b"1")
    assert names(tmp_path) == ["é" * 127]


def test_a_set_whose_preparation_was_killed_is_removed_after_a_day(tmp_path):
    for name in ("incomplete.A_1.0.0", "incomplete.B_1.0.0", "1.0.0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").touch()
    for path in (tmp_path, *tmp_path.rglob("*")):
        if path != tmp_path / "incomplete.B_1.0.0" / "part":
            os.utime(path, (0, time.time() - DAY - 1))
    _remove_incomplete(tmp_path)
    assert names(tmp_path) == ["1.0.0", "incomplete.B_1.0.0"]


PREPARE = """
import os, time
from fcnn.config import DataConfig
from fcnn.data import builders, load
def slowly(self, split):
    os.write(1, b"PREPARING\\n")
    time.sleep(60)
builders.Digits._generate_examples = slowly
load(DataConfig())
"""


def test_what_a_killed_preparation_has_left_is_removed_by_the_next(tmp_path):
    folder = tmp_path / "digits"
    with start("-c", PREPARE, cwd=tmp_path, env={"TFDS_DATA_DIR": str(tmp_path)}) as process:
        assert process.stdout is not None
        assert "PREPARING\n" in process.stdout
        _remove_incomplete(folder)
        assert len(list(folder.glob("incomplete.*"))) == 1
        process.send_signal(signal.SIGKILL)
    assert len(list(folder.glob("incomplete.*"))) == 1
    _remove_incomplete(folder)
    assert names(folder) == []


def test_a_mark_of_another_machine_does_not_count(tmp_path, monkeypatch):
    folder = tmp_path / "incomplete.X"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(files, "_machine", lambda: "another")
        with files.owned(folder):
            (folder / ".fcnn-another-2.tmp").touch()
    _remove_incomplete(tmp_path)
    assert folder.is_dir()
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, time.time() - DAY - 1))
    _remove_incomplete(tmp_path)
    assert not folder.exists()
