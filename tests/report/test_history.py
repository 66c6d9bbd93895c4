"""Records whose file was damaged: what is whole is read, and what is missing is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn.report.history import history_note, missing_epochs, read_lines
from fcnn.report.records import read_records

SUMS = {"loss": 1.5, "top1": 0.5, "top5": 1.0, "time": 1.7e9}
TEST = {
    "interval": [0.4, 0.6],
    "count": 8,
    "checkpoint": 30,
    "images": {"a": 8},
    "recall": {"a": 0.5},
    "f1": {"a": None},
}
RECORDS = [
    *(
        {"kind": "epoch", "split": split, "weights": "raw", "step": 10 * epoch, "epoch": float(epoch)} | SUMS
        for epoch in (1, 2, 3)
        for split in ("train", "validation")
    ),
    {"kind": "test", "split": "test", "weights": "raw", "step": 30, "epoch": 3.0, "precision": {"a": 1.0}}
    | SUMS
    | TEST,
]
LINES = [json.dumps(record).encode() for record in RECORDS]
CHANGES = (
    {"step": -1}, {"step": 10**400}, {"step": "3"}, {"step": True}, {"epoch": None}, {"epoch": float("nan")},
    {"top1": "a"}, {"top1": float("inf")}, {"weights": "both"}, {"weights": []}, {"kind": 3}, {"split": None},
    {"loss": None}, {"time": "now"},
)  # fmt: skip
TEST_CHANGES = (
    {"interval": 3}, {"interval": [1]}, {"count": -1}, {"recall": {"b": 1}}, {"images": [8]}, {"f1": {"a": "1"}},
)  # fmt: skip
DAMAGED = [
    *(b"\xff\xfe", b"{", b"3", b"null", b"[]", b"{}", b"nan", b"[" * 100_000, b"\0" * 90),
    *(json.dumps(RECORDS[0] | change).encode() for change in CHANGES),
    *(json.dumps(RECORDS[-1] | change).encode() for change in TEST_CHANGES),
]


def write(folder, lines):
    (folder / "metrics.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


@given(places=st.lists(st.integers(0, len(RECORDS) - 1), unique=True), data=st.data())
def test_damaged_lines_are_left_out_and_counted(tmp_path_factory, places, data):
    lines = [data.draw(st.sampled_from(DAMAGED)) if i in places else line for i, line in enumerate(LINES)]
    folder = write(tmp_path_factory.mktemp("run"), lines)
    assert read_records(folder) == [record for i, record in enumerate(RECORDS) if i not in places]
    note = history_note(folder, epochs=3) or ""
    assert (f"{len(places)} damaged line" in note) == bool(places)
    epochs = [str(place // 2 + 1) for place in sorted(places) if place in (0, 2, 4)]
    assert note.count("hole") == bool(epochs)
    assert ", ".join(epochs) in note


@pytest.mark.parametrize("damaged", DAMAGED, ids=range(len(DAMAGED)))
def test_each_kind_of_damage_is_seen(damaged, tmp_path):
    assert read_lines(write(tmp_path, [damaged])) == ([], 1)


def test_a_whole_history_and_a_cut_end_are_no_news(tmp_path):
    assert history_note(tmp_path) is None
    with write(tmp_path, LINES).joinpath("metrics.jsonl").open("ab") as file:
        file.write(LINES[0][:50])
    assert history_note(tmp_path, epochs=3.9) is None
    assert len(read_records(tmp_path)) == len(RECORDS)


def test_a_lost_history_is_told_by_what_the_checkpoints_say(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    assert read_records(tmp_path) == []
    note = history_note(tmp_path, epochs=12.5)
    epochs = "without the training records of epochs 1, 2, 3, 4, 5 and 7 more: curves have a hole there"
    assert note == f"{tmp_path}/metrics.jsonl: {epochs}"
    assert missing_epochs([], 1e9) == []
