"""Runs from start to end, in this process: what is written, what is read, and going on."""

import dataclasses
import json
import math
import time

import chex
import jax
import numpy as np
import pytest
from harness import comparable

from fcnn.config import Config, ModelConfig, OptimConfig, TrainConfig
from fcnn.data import load, pipeline
from fcnn.distributed import device_memory, processes, sharding
from fcnn.report import Console, fit, read_records
from fcnn.training import evaluate, step, trainer, workdir
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.evaluate import compile_evaluation
from fcnn.training.metric_log import NonFinite
from fcnn.training.pretrained import load_network
from fcnn.training.setup import make_setup
from fcnn.utils.errors import UserError

CONFIG = Config(
    model=ModelConfig(name="mlp"),
    optim=OptimConfig(learning_rate=0.05, weight_decay=1e-3),
    train=TrainConfig(epochs=3, batch_size=64, log_steps=8),
)


@pytest.fixture
def console(capsys):
    return Console()


def change(config=CONFIG, **parts):
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **values) for name, values in parts.items()}
    )


def final_state(config, workdir):
    setup = make_setup(config, load(config.data), sharding.make_mesh())
    with Checkpoints(workdir / "checkpoints", max_to_keep=2, keep_best=1) as checkpoints:
        found = checkpoints.restore_newest(setup.init_state(), print)
        assert found is not None
        return jax.device_get(found[0].replace(key=jax.random.key_data(found[0].key)))


def test_a_run_learns_and_leaves_what_it_says(tmp_path, console, capsys):
    workdir, began = tmp_path / "run", time.time()
    found = trainer.train(CONFIG, workdir, console)
    assert found["top1"] > 0.85
    assert found["count"] == 360
    for name in ("config.json", "metrics.jsonl", "checkpoints", "tensorboard", "curves.png", "report.html"):
        assert (workdir / name).exists(), name
    assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")
    records = read_records(workdir)
    times = [record["time"] for record in records]
    assert times == sorted(times)
    assert began - 0.001 <= times[0] <= times[-1] <= time.time() + 0.001
    assert [r["step"] for r in records if r["kind"] == "steps"] == [8, 16, 24, 32, 40, 48, 56]
    assert [(r["split"], r["epoch"]) for r in records if r["kind"] == "epoch"] == [
        (split, epoch) for epoch in (1, 2, 3) for split in ("train", "validation")
    ]
    out = capsys.readouterr().out
    assert "1,293 training, 144 validation, 360 test images" in out
    assert "epoch 3  train loss" in out
    assert not list(workdir.rglob("*.tmp"))
    # An evaluation from the folder alone gives the very same numbers.
    again = evaluate.evaluate(workdir, "test", console)
    assert all(again[name] == found[name] for name in ("loss", "top1", "top5", "count", "interval", "recall"))
    assert evaluate.evaluate(workdir, "validation", console)["count"] == 144
    assert evaluate.evaluate(workdir, "train", console)["count"] == 1293
    # The same command again has nothing left to do and says the same.
    before = (workdir / "metrics.jsonl").read_text()
    assert trainer.train(CONFIG, workdir, console) == found
    assert (workdir / "metrics.jsonl").read_text() == before


def test_the_test_split_is_read_once_at_the_end(tmp_path, console, monkeypatch):
    compiled = []
    original = evaluate.compile_evaluation

    def counting(setup, variables, split, **details):
        compiled.append(len(split))
        return original(setup, variables, split, **details)

    for module in (trainer, evaluate):
        monkeypatch.setattr(module, "compile_evaluation", counting)
    trainer.train(CONFIG, tmp_path / "run", console)
    assert compiled == [144, 360]


def test_each_step_is_traced_once(tmp_path, console, monkeypatch):
    traces = {"train": 0, "eval": 0}

    def counted(name, make):
        def made(*args, **kwargs):
            inner = make(*args, **kwargs)

            def traced(*a):
                traces[name] += 1
                return inner(*a)

            return traced

        return made

    from fcnn.training import setup, trainer

    monkeypatch.setattr(setup, "make_train_step", counted("train", step.make_train_step))
    monkeypatch.setattr(evaluate, "make_eval_step", counted("eval", step.make_eval_step))
    trainer.train(CONFIG, tmp_path / "run", console)
    assert traces == {"train": 1, "eval": 2}  # one for validation, one for test


def test_evaluation_counts_every_example_at_any_batch_size():
    results = []
    for size in (4, 100, 1000):
        setup = make_setup(change(train={"eval_batch_size": size}), load(CONFIG.data), sharding.make_mesh())
        variables = setup.init_state().variables
        results.append(compile_evaluation(setup, variables, setup.dataset.test, by_class=True)(variables))
    for found in results:
        assert sum(found["images"].values()) == 360
        assert found["top1"] == results[0]["top1"]
        assert found["loss"] == pytest.approx(results[0]["loss"], rel=1e-5)


def test_the_same_run_twice_gives_the_same_bits(tmp_path, console):
    config = change(model={"dropout": 0.1}, augment={"crop_padding": 1}, train={"steps": 12})
    for name in ("a", "b"):
        trainer.train(config, tmp_path / name, console)
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")
    chex.assert_trees_all_equal(final_state(config, tmp_path / "a"), final_state(config, tmp_path / "b"))
    other = dataclasses.replace(config, seed=1)
    trainer.train(other, tmp_path / "c", console)
    assert comparable(tmp_path / "a") != comparable(tmp_path / "c")


def test_a_longer_run_goes_on_from_the_newest_checkpoint(tmp_path, console, capsys):
    constant = change(optim={"schedule": "constant"})
    trainer.train(change(constant, train={"epochs": 2}), tmp_path / "run", console)
    found = trainer.train(constant, tmp_path / "run", console)
    assert "Continuing from step 40 of 60" in capsys.readouterr().out
    assert found == trainer.train(constant, tmp_path / "whole", console)
    chex.assert_trees_all_equal(final_state(constant, tmp_path / "run"), final_state(constant, tmp_path / "whole"))
    assert [r["step"] for r in read_records(tmp_path / "run") if r["kind"] == "test"] == [40, 60]
    with pytest.raises(UserError, match="has 60 steps already, more than the 20 of this command"):
        trainer.train(change(constant, train={"epochs": 1}), tmp_path / "run", console)
    kept = [r for r in comparable(tmp_path / "run") if r["kind"] != "test"]
    assert kept == [r for r in comparable(tmp_path / "whole") if r["kind"] != "test"]


def test_checkpoints_are_saved_when_due_at_the_end_of_an_epoch_that_is_not_evaluated(tmp_path, console):
    config = change(train={"eval_epochs": 3, "checkpoint_steps": 10, "max_to_keep": 9})
    trainer.train(config, tmp_path / "run", console)
    assert sorted(int(path.name) for path in (tmp_path / "run/checkpoints").glob("[0-9]*")) == [10, 20, 30, 40, 50, 60]
    (validation,) = [r for r in read_records(tmp_path / "run") if r["split"] == "validation"]
    assert validation["step"] == 60


def test_early_stopping_ends_a_run_that_does_not_improve(tmp_path, console, capsys):
    """With a learning rate of next to nothing, the first epoch's accuracy stays the best."""
    config = change(optim={"learning_rate": 1e-9}, train={"epochs": 9, "patience": 2.0})
    found = trainer.train(config, tmp_path / "run", console)
    assert "Stopped early: 2 epochs without a higher validation accuracy." in capsys.readouterr().out
    steps = [r["step"] for r in read_records(tmp_path / "run") if r["split"] == "validation"]
    assert steps == [20, 40, 60]
    assert found["step"] == 60
    assert trainer.train(config, tmp_path / "run", console) == found
    assert "is finished" in capsys.readouterr().out
    # Stopped before the test, it has the test alone left.
    trainer.train(config, tmp_path / "two", console, test=False)
    assert trainer.train(config, tmp_path / "two", console) == found
    assert comparable(tmp_path / "run") == comparable(tmp_path / "two")
    with pytest.raises(UserError, match=r"train.patience needs a validation split: set data.val-fraction"):
        trainer.train(change(config, data={"val_fraction": 0.0}), tmp_path / "none", console)


def test_another_config_is_another_run(tmp_path, console):
    trainer.train(change(train={"epochs": 1}), tmp_path / "run", console)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"\(optim.learning-rate: 0.05 -> 0.1\); take another"):
        trainer.train(change(optim={"learning_rate": 0.1}), tmp_path / "run", console)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not the folder of a run"):
        trainer.train(CONFIG, tmp_path / "mine", console)


def test_without_validation_there_is_no_best(tmp_path, console):
    config = change(data={"val_fraction": 0.0}, train={"epochs": 2, "ema_decay": 0.9})
    found = trainer.train(config, tmp_path / "run", console)
    assert found["step"] == found["checkpoint"] == 44
    assert found["weights"] == "ema"
    records = read_records(tmp_path / "run")
    assert {r["split"] for r in records} == {"train", "test"}
    with pytest.raises(UserError, match="held out no validation split"):
        evaluate.evaluate(tmp_path / "run", "validation", console)


def test_the_better_of_raw_and_averaged_weights_is_the_result(tmp_path, console, monkeypatch, capsys):
    """In the first steps of a run the raw weights are ahead, later, at a constant rate, the average; a run that goes on
    chooses as one that never stopped."""
    monkeypatch.setattr(fit, "LAG", 0.01)
    config = change(optim={"schedule": "constant"}, train={"ema_decay": 0.9, "steps": 3, "eval_steps": 3})
    workdir, chosen = tmp_path / "run", []
    for steps in (3, 21):
        found = trainer.train(change(config, train={"steps": steps}), workdir, console)
        validation = [r for r in read_records(workdir) if r["split"] == "validation"]
        assert [r["weights"] for r in validation] == ["raw", "ema"] * (steps // 3)
        best = max(validation, key=lambda r: (r["top1"], r["step"], r["weights"] == "ema"))
        assert (found["weights"], found["checkpoint"]) == (best["weights"], best["step"])
        assert evaluate.evaluate(workdir, "validation", console)["loss"] == best["loss"]
        assert evaluate.evaluate(workdir, "test", console)["loss"] == found["loss"]
        chosen.append(found["weights"])
        assert load_network(str(workdir)).info.weights == found["weights"]
        # The same weights, and nothing learns.
        transfer = {"weights": str(workdir), "strategy": "pretrained"}
        again = trainer.train(change(transfer=transfer), tmp_path / f"from-{steps}", console)
        assert (again["top1"], again["loss"]) == (found["top1"], pytest.approx(found["loss"], rel=1e-5))
        out = capsys.readouterr().out
        assert f"From {workdir}, {'averaged' if found['weights'] == 'ema' else 'raw'} weights." in out
        assert ("The averaged weights lag behind" in out) == (steps == 3)
    assert chosen == ["raw", "ema"]
    assert found == trainer.train(change(config, train={"steps": 21}), tmp_path / "whole", console)


def test_a_loss_that_is_no_number_stops_the_run_within_an_interval(tmp_path, console):
    config = change(optim={"learning_rate": 1e30}, train={"log_steps": 4, "checkpoint_steps": 1})
    with pytest.raises(NonFinite) as caught:
        trainer.train(config, tmp_path / "run", console)
    message = str(caught.value)
    assert "--optim.learning-rate" in message
    assert len(message.splitlines()) <= 4
    assert "checkpoint" in message.splitlines()[-1]
    for record in read_records(tmp_path / "run"):
        assert math.isfinite(record["loss"])
    with Checkpoints(tmp_path / "run" / "checkpoints", max_to_keep=2, keep_best=1) as checkpoints:
        assert all(s <= 5 for s in checkpoints.steps())


def test_batches_too_large_are_refused_before_anything_is_written(tmp_path, console):
    for train, words in (
        ({"batch_size": 2000}, "larger than the training split, 1293 images"),
        ({"batch_size": 30}, "does not divide over 4 devices"),
        ({"epochs": 1e250}, "the run has 2e[+]251 steps, and at most 2,147,483,647 can be counted"),
        ({"eval_batch_size": 30}, "does not divide over 4 devices"),
    ):
        with pytest.raises(UserError, match=words):
            trainer.train(change(train=train), tmp_path / "run", console)
    assert not list(tmp_path.iterdir())


def test_what_the_memory_can_not_hold_is_refused_with_its_size(tmp_path, console, monkeypatch):
    message = (
        "parameters with gradients and optimizer state take .* GB, and the memory has .* GB: take a smaller network"
    )
    with pytest.raises(UserError, match=message):
        trainer.train(change(model={"name": "resnet20", "width_multiplier": 1000}), tmp_path / "run", console)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(device_memory, "device_memory", lambda: 10**7)
    config = change(train={"batch_size": 1280})
    trainer.train(config, tmp_path / "fits", console)
    monkeypatch.setattr(device_memory, "device_memory", lambda: 4 * 10**6)
    with pytest.raises(UserError, match=r"a step works in .* GB, and the memory has .* GB: take smaller batches"):
        trainer.train(config, tmp_path / "run", console)


def test_an_epoch_is_the_mean_of_its_intervals_and_has_an_order_of_its_own(tmp_path, console, monkeypatch):
    orders = []
    original = pipeline.epoch_order
    monkeypatch.setattr(pipeline, "epoch_order", lambda *args: orders.append(args) or original(*args))
    trainer.train(change(train={"log_steps": 5}), tmp_path / "run", console)
    records = [r for r in read_records(tmp_path / "run") if r["split"] == "train"]
    for epoch in (1, 2, 3):
        parts = [r["loss"] for r in records if r["kind"] == "steps" and epoch - 1 < r["epoch"] <= epoch]
        (whole,) = [r["loss"] for r in records if r["kind"] == "epoch" and r["epoch"] == epoch]
        assert len(parts) == 4
        assert sum(parts) / 4 == pytest.approx(whole, rel=1e-9)
    assert orders == [(0, epoch, 1293) for epoch in range(3)]


def test_records_cut_short_by_a_kill_are_left_out(tmp_path):
    record = {"kind": "steps", "split": "train", "weights": "raw", "step": 1, "epoch": 0.1, "loss": 1.0, "top1": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n" + '{"step": 2, "los')
    assert read_records(tmp_path) == [record]


def test_the_learning_rate_that_is_told_is_the_one_that_was_used(tmp_path, console):
    config = change(optim={"warmup_steps": 10, "schedule": "linear"}, train={"log_steps": 5, "steps": 30})
    trainer.train(config, tmp_path / "run", console)
    rates = [r["learning_rate"] for r in read_records(tmp_path / "run") if r["kind"] == "steps"]
    expected = [0.05 * min(s / 11, 1) if s <= 10 else 0.05 * (1 - (s - 11) / 20) for s in (5, 10, 15, 20, 25, 30)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_all_processes_feed_their_steps_as_the_first_one_does(tmp_path, console, monkeypatch):
    """ "auto" goes by the memory of the host; here the first one's would be too small for what this one has."""
    asked = []
    monkeypatch.setattr(processes, "of_first", lambda mine: asked.append(mine) or 1)
    trainer.train(change(train={"steps": 4}), tmp_path / "run", console)
    assert asked[0] == 0
    assert json.loads((tmp_path / "run/data.json").read_text())["pipeline"] == "stream"


def test_a_run_killed_before_it_has_a_config_begins_again(tmp_path):
    """What is there by then is no reason to take the folder for somebody else's."""
    workdir.check(tmp_path, Config())
    for name in (".lock", "strategy.json", ".fcnn-elsewhere-0123456789ab.tmp"):
        (tmp_path / name).touch()
    workdir.check(tmp_path, Config())
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="not the folder of a run"):
        workdir.check(tmp_path, Config())
