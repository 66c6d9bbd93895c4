"""A few cases of the campaign over command lines."""

import _world
import pytest
from _judge import judge
from commands import case

from fcnn import cli

LINEAR = {"digits": ("train", "--config", "resnet", "--model.name", "linear", "--train.steps", "2")}
WITHOUT_A_RUN = (0, 1, 4, 7, 8, 13, 14, 15, 16, 18, 21, 25, 28, 31, 32, 36, 39, 43)
WELL = {"code": 0, "seconds": 1.0, "peak": 1, "late": False, "hung": False, "outside": []}


@pytest.mark.parametrize(
    ("runs", "numbers"), [({}, WITHOUT_A_RUN), pytest.param(LINEAR, range(60), marks=pytest.mark.slow)]
)
def test_few_cases_keep_every_promise(runs, numbers, tmp_path, monkeypatch):
    monkeypatch.setattr(_world, "RUNS", runs)
    try:
        for number in numbers:
            folder = tmp_path / f"commands-{number}"
            folder.mkdir()
            what, lost = case(number, folder)
            assert lost is None, (number, what, lost)
    finally:
        _world.world(tmp_path.resolve())[0].close()


@pytest.mark.parametrize(
    ("change", "err", "words"),
    [
        ({"hung": True}, "", "hung"),
        ({"code": 70}, "Traceback (most recent call last):\n", "Traceback"),
        ({"code": 1}, "", "exit code 1"),
        ({"code": -6}, "", "exit code -6"),
        ({"peak": 2**40}, "", "GiB"),
        ({"outside": ["open /etc/x"]}, "", "wrote outside"),
        ({"code": 2}, "", "without a word"),
        ({"code": 2}, "fcnn: a\nb\nc\n", "3 lines"),
        ({}, "\x1b[31m", "control characters"),
        ({}, "x.py:3: UserWarning: a\n", "Warning"),
    ],
)
def test_a_broken_promise_is_seen(change, err, words, tmp_path):
    def lost(answer, err):
        return judge(["models"], answer, b"", err.encode(), folder=tmp_path, streams=set())

    assert lost(WELL, "fine\n") is None
    assert lost(WELL | {"code": 2}, "a line\nfcnn: one\ntwo\n") is None
    assert words in (lost(WELL | change, err) or "")


def test_a_message_repeats_no_value_at_full_length(capsys):
    assert cli.main(["summary", "lenet5", "--image-size", "1" * 4000]) == 2
    message = capsys.readouterr().err
    assert message.startswith("fcnn: --image-size must be at most 4,096, got 111")
    assert len(message) < 1100


def test_what_is_left_behind_is_seen(tmp_path):
    (tmp_path / ".fcnn-0-1.tmp").touch()
    assert "left behind" in (judge(["models"], WELL, b"", b"", folder=tmp_path, streams=set()) or "")
