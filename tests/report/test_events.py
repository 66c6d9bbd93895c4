"""TensorBoard's events: what its own format says, and a disk that takes none."""

import struct

import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
from tensorboardX.record_writer import masked_crc32c

from fcnn.report import events, read_records
from fcnn.report.records import Records
from fcnn.utils.errors import UserError

RECORD = {"kind": "epoch", "split": "train", "weights": "raw", "step": 3, "epoch": 1.0, "loss": 0.5, "top1": 1}


def read_events(path):
    """Records as TensorFlow frames them: length, its checksum, data, its checksum."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        content = data[12 : 12 + length]
        sums = struct.unpack("<II", data[8:12] + data[12 + length : 16 + length])
        assert sums == (masked_crc32c(data[:8]), masked_crc32c(content))
        found.append(Event.FromString(content))
        data = data[16 + length :]
    return found


def test_events_are_those_of_the_records(tmp_path):
    with Records(tmp_path, 2, print) as records:
        records.write(RECORD)
    (path,) = (tmp_path / "tensorboard").iterdir()
    version, start, scalar = read_events(path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (3, start.session_log.START)
    (value,) = scalar.summary.value
    assert (scalar.step, value.tag, value.simple_value) == (3, "train/loss", 0.5)
    assert scalar.wall_time == read_records(tmp_path)[0]["time"]


def test_without_space_for_events_a_line_says_so_and_the_records_go_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    lines = []
    with Records(tmp_path, 0, lines.append) as records:
        monkeypatch.setattr(events, "append", full)
        records.write(RECORD)
        records.write(RECORD)
    assert lines == [
        "TensorBoard's events can't be written any more: No space left on device; metrics.jsonl has the numbers"
    ]
    assert len(read_records(tmp_path)) == 2


def test_records_that_can_not_be_written_are_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with Records(tmp_path, 0, print) as records:
        monkeypatch.setattr("fcnn.report.records.append", full)
        with pytest.raises(UserError, match=r"metrics.jsonl can't be written: No space left on device"):
            records.write(RECORD)
