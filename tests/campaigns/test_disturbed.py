"""The short forms of the campaigns that kill commands, fail their disk, cut the power and let them run for long."""

import errno
import random

import disk_faults
import kills
import power_loss
import pytest
import soak

disk = pytest.mark.skipif(not disk_faults.available(), reason="needs Linux and a C compiler")
SLOW = ("convert", "train", "search", "export program", "prepare photos")


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_what_is_killed_at_any_moment_ends_as_what_was_not(tmp_path, name):
    assert kills.kill(name, random.Random(1), tmp_path)[1] is None


@disk
@pytest.mark.parametrize(("place", "lasting"), [(4, True), (6, False)])
def test_a_disk_that_fails_is_named_and_leaves_nothing_half(tmp_path, place, lasting):
    """While the file is written, and when it gets its name."""
    assert disk_faults.fail("convert", place, errno.ENOSPC, tmp_path, lasting=lasting)[1] is None


@disk
@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_any_operation_on_the_disk_may_fail(tmp_path, number):
    assert disk_faults.case(number, tmp_path)[1] is None


@disk
@pytest.mark.slow
def test_a_checkpoint_that_failed_does_not_hold_up_the_end(tmp_path):
    """Orbax's threads wait ten minutes for a folder that could not be made."""
    operations = disk_faults.recorded("train shortly")
    place = next(i for i, what in enumerate(operations, 1) if what.startswith("mkdir out/run/checkpoints/6."))
    assert disk_faults.fail("train shortly", place, errno.EDQUOT, tmp_path, lasting=True)[1] is None


@disk
def test_what_has_a_name_is_on_disk():
    assert power_loss.unsafe(disk_faults.recorded("convert")) == []


@disk
@pytest.mark.slow
@pytest.mark.parametrize("name", power_loss.NAMES)
def test_what_a_command_has_written_is_on_disk_before_it_has_its_name(name):
    assert power_loss.unsafe(disk_faults.recorded(name)) == []


def test_what_a_power_cut_would_leave_is_recognized():
    """The recorder's reader: a name before its content, a name that is never on disk."""
    made = ["open out/.a-1", "write out/.a-1", "rename out/a out/.a-1", "fsync out"]
    assert power_loss.unsafe(made) == [
        "out/a gets its name before out/.a-1 is on disk",
        "out/a is not on disk at the end",
    ]
    assert power_loss.unsafe([*made[:2], "fsync out/.a-1", made[2]]) == ["out/a is not on disk at the end"]
    assert power_loss.unsafe([*made[:2], "fsync out/.a-1", *made[2:]]) == []


@pytest.mark.slow
def test_a_run_does_not_grow(tmp_path):
    options = "--train.steps 1000 --train.eval-steps 20 --train.log-steps 10"
    assert soak.soak(options, 50, tmp_path)[1] is None
