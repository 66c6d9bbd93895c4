"""Files of weights: what is in them comes back, what is wrong with them is one line, and none of them runs anything."""

import json
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.utils.errors import UserError
from fcnn.weights.files import read_arrays, write_arrays

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.int64)}


def safetensors(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HOSTILE = {
    "nothing": b"",
    "no header": b"abc",
    "a length beyond the file": safetensors({}, length=10**8),
    "a length beyond memory": safetensors({}, length=2**63),
    "no JSON": safetensors(b"hello"),
    "JSON of another kind": safetensors([1]),
    "deep JSON": safetensors(b"[" * 100_000),
    "overlapping arrays": safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "a hole": safetensors({"a": entry([2], 4, 12)}, bytes(12)),
    "offsets beyond the file": safetensors({"a": entry([2], 0, 8)}, bytes(4)),
    "offsets beyond 64 bits": safetensors({"a": entry([2], 0, 2**70)}, bytes(8)),
    "offsets in the wrong order": safetensors({"a": entry([2], 8, 0)}, bytes(8)),
    "a size that isn't the shape's": safetensors({"a": entry([3], 0, 8)}, bytes(8)),
    "a shape that overflows": safetensors({"a": entry([2**62, 8], 0, 8)}, bytes(8)),
    "a shape that is huge and empty": safetensors({"a": entry([0, 2**60, 2**60], 0, 0)}),
    "a negative shape": safetensors({"a": entry([-2], 0, 8)}, bytes(8)),
    "an unknown type": safetensors({"a": entry([2], 0, 8, "F99")}, bytes(8)),
    "bytes left over": safetensors({"a": entry([2], 0, 8)}, bytes(12)),
    "metadata of another type": safetensors({"__metadata__": {"fcnn": 1}, "a": entry([2], 0, 8)}, bytes(8)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_answered_in_a_line(case, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(UserError, match=r"damaged or no safetensors file: .") as error:
        read_arrays(path)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 400 + len(str(path))


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3)), min_size=1, max_size=4))
def test_no_damage_raises_anything_else(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    write_arrays(path, ARRAYS, "{}")
    data = path.read_bytes()
    for place, new in changes:
        place %= len(data) + 1
        data = data[:place] + new + data[place + 1 :]
    path.write_bytes(data)
    try:
        arrays, _ = read_arrays(path)
    except UserError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


def test_what_is_written_comes_back_and_is_the_same_bytes(tmp_path):
    a, b = tmp_path / "new" / "a.safetensors", tmp_path / "b.safetensors"
    for path in (a, b):
        write_arrays(path, ARRAYS, '{"classes": ["ä"]}')
    found, ours = read_arrays(a)
    assert ours == '{"classes": ["ä"]}'
    assert {name: (x.dtype, x.tolist()) for name, x in found.items()} == {
        name: (x.dtype, x.tolist()) for name, x in ARRAYS.items()
    }
    assert a.read_bytes() == b.read_bytes()


def test_what_was_there_stays_when_the_new_file_can_not_be_written(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="can't be written: No space left on device"):
        write_arrays(path, ARRAYS, "{}")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_halves_are_read_as_float32_and_what_is_not_finite_is_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(
        safetensors({"a": entry([2], 0, 4, "BF16"), "b": entry([1], 4, 6, "F16")}, b"\x80\x3f" * 2 + b"\x00\x3c")
    )
    arrays, ours = read_arrays(path)
    assert ours is None
    assert {name: (x.dtype, x.tolist()) for name, x in arrays.items()} == {
        "a": (np.float32, [1, 1]), "b": (np.float32, [1]),
    }  # fmt: skip
    write_arrays(path, {"fine": np.ones(2), "bad": np.array([1, np.nan])}, "{}")
    with pytest.raises(UserError, match=r"holds numbers that are not finite: bad$"):
        read_arrays(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_what_is_larger_than_memory_is_not_read(name, tmp_path):
    with (tmp_path / name).open("wb") as file:
        file.write((20).to_bytes(8, "little") + b"{" if name == "a.safetensors" else b"\x80\x02")
        file.truncate(10**13)  # which takes no place on the disk
    with pytest.raises(UserError, match=r"has 10,000\.0 GB, and the memory has"):
        read_arrays(tmp_path / name)


def test_other_files_are_told_what_is_read(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.pth"):
        read_arrays(tmp_path / "nowhere.pth")
    (tmp_path / "weights.h5").touch()
    with pytest.raises(
        UserError, match=r"weights\.h5 is no file of weights that fcnn reads: \.safetensors or PyTorch's"
    ):
        read_arrays(tmp_path / "weights.h5")


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(kind, tmp_path):
    torch = pytest.importorskip("torch")
    path, trace = tmp_path / "weights.pth", tmp_path / "ran"
    loaded = {"state_dict": {"a": torch.zeros(2)}, "epoch": Evil(trace)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(trace), protocol=4))
        pickle.loads(path.read_bytes())  # what anyone else would do
        trace.rmdir()
    else:
        torch.save(loaded, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(UserError, match="is refused: it holds more than weights") as error:
        read_arrays(path)
    assert not trace.exists()
    assert kind == "pickle" or "posix.mkdir" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_damaged_files_of_pytorchs_are_answered_in_a_line(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.th"
    torch.save({"a": torch.zeros(2)}, path)
    for data, words in ((b"", "damaged"), (b"hello", "damaged"), (path.read_bytes()[:300], "damaged")):
        path.write_bytes(data)
        with pytest.raises(UserError, match=words):
            read_arrays(path)
    for value, words in (
        ([1, 2], "holds no state_dict"),
        ({"model": {"n": 3}}, "holds no state_dict"),
    ):
        torch.save(value, path)
        with pytest.raises(UserError, match=words):
            read_arrays(path)
