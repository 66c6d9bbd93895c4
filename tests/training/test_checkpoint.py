"""Checkpoints: what is kept, what is best, and what happens to a damaged one."""

import json
import os
from typing import Any

import chex
import jax
import optax
import pytest
import tensorstore

from fcnn import models
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.state import create_state
from fcnn.utils.errors import UserError


@pytest.fixture(scope="module")
def state():
    model = models.create("mlp", num_classes=3)
    return create_state(model, optax.adam(0.1), (2, 2, 1), jax.random.key(5), ema=True)


def fill(folder, state, scores):
    """A checkpoint for each (step, accuracy or None), params marked by the step."""
    with Checkpoints(folder, max_to_keep=2, keep_best=1) as checkpoints:
        for step, score in scores:
            marked = state.replace(step=state.step + step, params=jax.tree.map(lambda x, s=step: x + s, state.params))
            checkpoints.save(marked, {"note": step / 3}, None if score is None else {"top1": score, "loss": 0.1})


def damage(folder):
    """Takes away what says which arrays a checkpoint holds."""
    (folder / "state" / "_METADATA").unlink()
    (folder / "state" / "manifest.ocdbt").write_bytes(b"damaged")


def test_the_newest_and_the_best_are_kept_also_when_opened_again(tmp_path, state):
    fill(tmp_path, state, [(10, 0.5), (20, 0.9), (30, 0.7)])
    fill(tmp_path, state, [(40, 0.6), (45, None), (50, 0.8)])
    with Checkpoints(tmp_path, max_to_keep=2, keep_best=1) as checkpoints:
        assert checkpoints.steps() == [20, 45, 50]
        assert checkpoints.best_step() == 20


def test_of_equal_accuracies_the_lowest_loss_is_best(tmp_path, state):
    with Checkpoints(tmp_path, max_to_keep=1, keep_best=1) as checkpoints:
        for step, loss in ((0, 0.4), (10, 0.3), (20, 0.5), (30, 0.9)):
            metrics = {"top1": 0.9 if step < 30 else 0.8, "loss": loss}
            checkpoints.save(state.replace(step=state.step + step), {}, metrics)
        assert checkpoints.best_step() == 10
        assert checkpoints.steps() == [10, 30]


def test_of_equals_the_latest_is_best_and_without_metrics_there_is_none(tmp_path, state):
    fill(tmp_path / "a", state, [(10, 0.9), (20, 0.9), (30, 0.1)])
    fill(tmp_path / "b", state, [(10, None), (20, None)])
    with Checkpoints(tmp_path / "a", max_to_keep=2, keep_best=1) as checkpoints:
        assert checkpoints.best_step() == 20
    with Checkpoints(tmp_path / "b", max_to_keep=2, keep_best=1) as checkpoints:
        assert checkpoints.best_step() is None


def test_the_better_weights_of_a_step_are_read(tmp_path, state):
    for step, weights in ((10, "raw"), (20, "ema"), (30, None)):
        with Checkpoints(tmp_path, max_to_keep=3, keep_best=1) as checkpoints:
            metrics = None if weights is None else {"top1": 0.5, "weights": weights}
            moved = state.replace(step=state.step + step, params=jax.tree.map(lambda x: x + 1, state.params))
            checkpoints.save(moved, {}, metrics)
    with Checkpoints(tmp_path, max_to_keep=3, keep_best=1, read_only=True) as checkpoints:
        for step, weights in ((10, "raw"), (20, "ema"), (30, "ema")):
            variables, found = checkpoints.read_variables(step)
            assert found == weights
            chex.assert_trees_all_equal(variables["params"], (moved if weights == "raw" else state).params)


def test_a_state_comes_back_bit_for_bit(tmp_path, state):
    fill(tmp_path, state, [(7, 0.5)])
    with Checkpoints(tmp_path, max_to_keep=1, keep_best=1) as checkpoints:
        restored, meta = checkpoints.restore(state, 7)
    assert int(restored.step) == 7
    assert meta == {"note": 7 / 3}
    expected = state.replace(step=state.step + 7, params=jax.tree.map(lambda x: x + 7, state.params))
    same = [jax.random.key_data(s.key) for s in (restored, expected)]
    chex.assert_trees_all_equal(*same)
    chex.assert_trees_all_equal(restored.replace(key=0), expected.replace(key=0))
    assert jax.random.key_impl(restored.key) == jax.random.key_impl(state.key)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, state):
    fill(tmp_path, state, [(10, 0.5), (20, 0.6)])
    damage(tmp_path / "20")
    said: list[str] = []
    with Checkpoints(tmp_path, max_to_keep=2, keep_best=1) as checkpoints:
        found = checkpoints.restore_newest(state, said.append)
        assert found is not None
        assert int(found[0].step) == 10
        assert len(said) == 1
        assert "20 can't be read" in said[0]
        checkpoints.discard_after(10)
        assert checkpoints.steps() == [10]
    damage(tmp_path / "10")
    with (
        Checkpoints(tmp_path, max_to_keep=2, keep_best=1) as checkpoints,
        pytest.raises(UserError, match="can be read"),
    ):
        checkpoints.restore_newest(state, said.append)


def test_what_is_said_of_many_damaged_arrays_is_all_that_is_said(tmp_path, capfd):
    """Arrays that come in after the first unreadable one have somebody who waits for them."""
    many = create_state(models.create("resnet20", num_classes=3), optax.adam(0.1), (4, 4, 1), jax.random.key(5))
    fill(tmp_path, many, [(10, None)])
    for path in (tmp_path / "10/state/ocdbt.process_0/d").iterdir():
        path.write_bytes(b"damaged")
    for _ in range(3):  # each goes wrong nearly always where nobody waits
        with (
            Checkpoints(tmp_path, max_to_keep=1, keep_best=1) as checkpoints,
            pytest.raises(UserError, match="can be read"),
        ):
            checkpoints.restore_newest(many, pytest.fail)  # there is none to go back to
    with (
        Checkpoints(tmp_path, max_to_keep=1, keep_best=1) as checkpoints,
        pytest.raises(UserError, match="10 can't be read"),
    ):
        checkpoints.read_variables(10)
    with (
        Checkpoints(tmp_path, max_to_keep=1, keep_best=1) as checkpoints,
        pytest.raises(UserError, match="10 can't be read"),
    ):
        checkpoints.restore(many, 10)
    assert capfd.readouterr().err == ""


def test_looking_changes_nothing(tmp_path, state):
    fill(tmp_path, state, [(10, 0.5), (20, 0.6), (30, 0.7)])
    half = tmp_path / "40.orbax-checkpoint-tmp-123"  # what a run at work is just writing
    half.mkdir()
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with Checkpoints(tmp_path, max_to_keep=1, keep_best=1, read_only=True) as checkpoints:
        assert checkpoints.best_step() == 30
        checkpoints.restore(state, 30)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    with pytest.raises(UserError, match="no checkpoint"):
        Checkpoints(tmp_path / "nothing", max_to_keep=1, keep_best=1, read_only=True)


def test_what_a_kill_left_half_written_is_no_checkpoint(tmp_path, state):
    fill(tmp_path, state, [(10, 0.5)])
    (tmp_path / "20.orbax-checkpoint-tmp-123" / "state").mkdir(parents=True)
    with Checkpoints(tmp_path, max_to_keep=2, keep_best=1) as checkpoints:
        assert checkpoints.steps() == [10]


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"3", b'{"top1": NaN}', None])
def test_damaged_metrics_are_told_and_the_others_compared(damaged, tmp_path, state):
    fill(tmp_path, state, [(10, 0.9), (20, 0.5), (30, 0.4)])
    file = tmp_path / "10" / "metrics" / "metrics"
    file.unlink()
    if damaged is not None:
        file.write_bytes(damaged)
    with Checkpoints(tmp_path, max_to_keep=2, keep_best=1, read_only=True) as checkpoints:
        assert checkpoints.best_step() == 20
        lost = "damaged; whether it is the best on validation isn't known, and it is not kept as that"
        assert checkpoints.note() == f"{file.parent}: {lost}"
        assert checkpoints.read_best()[0] == 20
    fill(tmp_path, state, [(40, 0.3)])
    with Checkpoints(tmp_path, max_to_keep=2, keep_best=1) as checkpoints:
        assert checkpoints.steps() == [20, 30, 40]
        assert checkpoints.note() is None


def test_what_can_not_be_opened_is_named(tmp_path, state):
    fill(tmp_path, state, [(10, 0.9)])
    (tmp_path / "10" / "_CHECKPOINT_METADATA").write_text("3")
    with pytest.raises(UserError, match="_CHECKPOINT_METADATA is damaged; delete them"):
        Checkpoints(tmp_path, max_to_keep=2, keep_best=1, read_only=True)
    (tmp_path / "10" / "_CHECKPOINT_METADATA").unlink()
    with Checkpoints(tmp_path, max_to_keep=2, keep_best=1, read_only=True) as checkpoints:
        assert checkpoints.read_best()[0] == 10
    os.mkfifo(tmp_path / "10" / "pipe")
    with pytest.raises(UserError, match="pipe is no file; remove it"):
        Checkpoints(tmp_path, max_to_keep=2, keep_best=1, read_only=True)


def test_arrays_that_are_said_to_be_larger_than_their_files_are_not_read(tmp_path, state):
    fill(tmp_path, state, [(10, 0.5)])
    place = {"driver": "ocdbt", "base": f"file://{tmp_path}/10/state/"}
    store: Any = tensorstore.KvStore.open(place).result()
    header = next(key for key in store.list().result() if key.startswith(b"ema.params.hidden1.kernel"))
    for shape in [10**6, 10**7], [4, 10**9]:
        values = json.loads(store.read(header).result().value) | {"shape": shape}
        store.write(header, json.dumps(values).encode()).result()
        with (
            Checkpoints(tmp_path, max_to_keep=2, keep_best=1, read_only=True) as checkpoints,
            pytest.raises(UserError, match=r"checkpoint .* says that .* bytes hold arrays of .* bytes"),
        ):
            checkpoints.read_best()
