"""`held_out.npz`: what is written is read, and what a file declares is compared with what is there."""

import io
import zipfile

import numpy as np
import pytest

from fcnn.training.held_out import FILE, HeldOut, read_held_out, write_held_out
from fcnn.utils.errors import UserError


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_what_is_written_is_read(tmp_path):
    empty = read_held_out(tmp_path, 3)
    assert (len(empty.logits), len(empty.labels), empty.nearest) == (0, 0, None)
    logits, labels = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32), np.asarray([0, 1, 2, 1, 0])
    for nearest in (None, np.linspace(0, 1, 5, dtype=np.float32)):
        write_held_out(tmp_path, HeldOut(logits, labels, ["a"] * 5, nearest, 7))
        read = read_held_out(tmp_path, 3)
        assert np.array_equal(read.logits, logits)
        assert np.array_equal(read.labels, labels)
        assert read.is_of(7) == (nearest is not None)
        assert not read.is_of(8)
        assert read.nearest is None if nearest is None else np.array_equal(read.nearest, nearest)
    with pytest.raises(UserError, match="is damaged: logits of shape"):
        read_held_out(tmp_path, 4)
    write_held_out(tmp_path, HeldOut(logits, labels, ["a"] * 5, np.full(5, np.nan), 7))
    with pytest.raises(UserError, match="is damaged: similarities that are not finite"):
        read_held_out(tmp_path, 3)


@pytest.mark.parametrize(
    "data",
    [header((25 * 10**12,)), header((5, 3)) + bytes(59), header((1,), "|O") + bytes(8), b"", b"\x93NUMPY\x02\x00\xff"],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_file_is_answered_in_a_line(data, compression, tmp_path):
    with zipfile.ZipFile(tmp_path / FILE, "w", compression) as archive:
        archive.writestr("logits.npy", data)
        archive.writestr("labels.npy", data)
    with pytest.raises(UserError, match=r"held_out\.npz is damaged: "):
        read_held_out(tmp_path, 3)
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(UserError, match=r"held_out\.npz is damaged: "):
        read_held_out(tmp_path, 3)
