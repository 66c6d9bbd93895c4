"""A run from a linear probe: the probe is evaluated first, the better of the two is kept, and it says so."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from harness import comparable, random_network

from fcnn.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig, TransferConfig
from fcnn.report import Console, read_records
from fcnn.training import trainer
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.evaluate import evaluate
from fcnn.training.features import fit_probe
from fcnn.training.held_out import FILE
from fcnn.training.pretrained import load_network
from fcnn.training.run_data import build
from fcnn.training.start import start_state
from fcnn.weights import write_network


@pytest.fixture
def config(tmp_path):
    """Ten steps from a probe of 100 digits, on a network that nobody trained."""
    path = tmp_path / "lenet.safetensors"
    write_network(path, random_network("lenet5", norm="batch", width_multiplier=0.5))
    return Config(
        data=DataConfig(image_size=32, num_train=100),
        model=ModelConfig(name="lenet5", norm="batch", width_multiplier=0.5),
        optim=OptimConfig(name="adam", learning_rate=1e-3),
        train=TrainConfig(batch_size=20, eval_batch_size=40, steps=10, eval_epochs=1, ema_decay=0.9),
        transfer=TransferConfig(weights=str(path), head_init="linear_probe", backbone_lr_scale=1.0),
    )


def with_rate(config, rate):
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, learning_rate=rate))


def validations(run):
    return [r for r in read_records(run) if r["kind"] == "epoch" and r["split"] == "validation"]


def test_the_better_of_probe_and_fine_tuned_network_is_kept(config, tmp_path, capsys):
    for name, rate, verdict in (
        ("better", 3e-4, "Fine-tuning raised the validation accuracy from "),
        ("worse", 30.0, "Fine-tuning did not help: "),
    ):
        run = tmp_path / name
        test = trainer.train(with_rate(config, rate), run, Console())
        assert verdict in capsys.readouterr().out
        records = validations(run)
        assert [r["step"] for r in records] == [0, 0, 5, 5, 10, 10]
        assert (test["checkpoint"] == 0) == (name == "worse")
        best = max(r["top1"] for r in records)
        evaluation = evaluate(run, "validation", Console())
        assert evaluation["top1"] == best
        assert evaluation["calibration"]["fitted_on"] == ("train" if name == "worse" else "validation")
        held_out = np.load(run / FILE)
        dataset = build(config, Console(quiet=True), run).dataset
        split = dataset.train if name == "worse" else dataset.validation
        np.testing.assert_array_equal(held_out["labels"], split.labels)
        assert held_out["logits"].shape == (len(split), 10)
        assert held_out["paths"].tolist() == [""] * len(split)
        accuracy = np.mean(held_out["logits"].argmax(axis=1) == split.labels)
        if name == "better":
            assert accuracy == pytest.approx(best)
        else:
            assert 0.3 < accuracy < 1  # of heads that haven't seen the images; the one that has is always right
    probed = dataclasses.replace(config, transfer=dataclasses.replace(config.transfer, strategy="pretrained"))
    alone = trainer.train(probed, tmp_path / "alone", Console())
    assert [alone[name] for name in ("top1", "loss")] == [test[name] for name in ("top1", "loss")]
    chex.assert_trees_all_equal(
        load_network(str(tmp_path / "alone")).variables, load_network(str(tmp_path / "worse")).variables
    )


def test_a_probe_that_was_fitted_before_changes_nothing(config, tmp_path):
    setup = build(config, Console(quiet=True))
    plain = dataclasses.replace(config, transfer=dataclasses.replace(config.transfer, head_init="random"))
    state = start_state(dataclasses.replace(setup, config=plain), lambda _: None)
    probe = fit_probe(setup, state.variables)
    trainer.train(config, tmp_path / "a", Console())
    trainer.train(config, tmp_path / "b", Console(), probe=probe)
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()


@pytest.mark.parametrize("after", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_ends_while_it_saves_is_the_run_that_did_not(config, tmp_path, monkeypatch, after):
    """The first checkpoint is that of the probe; its evaluation is written before it."""
    trainer.train(config, tmp_path / "whole", Console())
    save, saves = Checkpoints.save, []

    def failing(self, *args):
        if len(saves) == after:
            raise KeyboardInterrupt
        saves.append(save(self, *args))

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", failing)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(config, tmp_path / "run", Console())
    trainer.train(config, tmp_path / "run", Console())
    assert comparable(tmp_path / "run") == comparable(tmp_path / "whole")
    setup = build(config, Console(quiet=True), tmp_path / "run")
    states = []
    for name in ("run", "whole"):
        with Checkpoints(tmp_path / name / "checkpoints", max_to_keep=2, keep_best=1, read_only=True) as checkpoints:
            state, _ = checkpoints.restore(setup.init_state(), 10)
            states.append(jax.device_get(state.replace(key=jax.random.key_data(state.key))))
    chex.assert_trees_all_equal(*states)
