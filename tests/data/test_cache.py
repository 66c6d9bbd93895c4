"""The cache of decoded images: the same source, the same file; anything else, made again and never half."""

import os

import numpy as np
import pytest

from fcnn.data.cache import cache_dir, cached_arrays, cached_json


def make(name, identity, value, count=3):
    calls = []

    def fill(out):
        calls.append(1)
        out["image"][:] = value
        out["label"][:] = np.arange(count)

    found = cached_arrays(name, identity, count, (2, 2, 1), fill)
    return found, bool(calls)


def files():
    return sorted(path.name for path in (cache_dir() / "arrays").iterdir())


def test_a_source_is_decoded_once_and_replaced_when_it_changes(data_folder):
    found, made = make("a set-train", {"version": 1}, 7)
    assert made
    assert (found["image"] == 7).all()
    assert found["label"].tolist() == [0, 1, 2]
    assert not make("a set-train", {"version": 1}, 8)[1]
    assert make("a set-test", {"version": 1}, 8)[1]
    again, made = make("a set-train", {"version": 2}, 9)
    assert made
    assert len(files()) == 2
    assert (found["image"] == 7).all()  # what is in use stays
    assert (again["image"] == 9).all()


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_file_is_made_again(data_folder, damage):
    make("x", 1, 7)
    (path,) = (cache_dir() / "arrays").iterdir()
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    found, made = make("x", 1, 7)
    assert made
    assert (found["image"] == 7).all()


def test_a_failure_leaves_nothing(data_folder):
    def fail(out):
        out["image"][0] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_arrays("x", 1, 3, (2, 2, 1), fail)
    assert files() == []


def test_without_room_the_images_are_in_memory(data_folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    found, made = make("x", 1, 7)
    assert made
    assert (found["image"] == 7).all()
    assert files() == []


def test_a_number_that_has_changed_on_disk_is_computed_again(data_folder):
    value = {"a": [1, 2.5, "é"], "b": None}
    assert cached_json("kind", 1, lambda: value) == value
    (path,) = (cache_dir() / "kind").iterdir()
    whole = path.read_bytes()
    assert cached_json("kind", 1, lambda: 1 / 0) == value
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cached_json("kind", 1, lambda: value) == value
        assert path.read_bytes() == whole
    for damaged in (b"", whole[:-1], b"[" * 100_000):
        path.write_bytes(damaged)
        assert cached_json("kind", 1, lambda: value) == value


def test_a_pipe_in_a_files_place_is_not_waited_for(data_folder):
    make("x", 1, 7)
    cached_json("kind", 1, dict)
    for path in [*(cache_dir() / "arrays").iterdir(), *(cache_dir() / "kind").iterdir()]:
        path.unlink()
        os.mkfifo(path)
    found, made = make("x", 1, 8)
    assert made
    assert (found["image"] == 8).all()
    assert cached_json("kind", 1, lambda: 3) == 3
