"""What a run keeps of its data and holds on to: normalization, classes, what was left out, and the classes' weights."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from fcnn import models
from fcnn.cli.results import log_result
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig
from fcnn.data import load
from fcnn.data.dataset import balanced_weights
from fcnn.report import Console
from fcnn.training import evaluate, trainer
from fcnn.training.metrics import cross_entropy
from fcnn.training.state import create_state
from fcnn.training.step import make_train_step
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError


def config(data: DataConfig, steps: int = 4) -> Config:
    train = TrainConfig(steps=steps, batch_size=8, eval_batch_size=8)
    return Config(data=data, model=ModelConfig(name="linear"), train=train)


def test_a_run_keeps_its_normalization_whatever_the_data_become(tmp_path, draw, data_folder):
    root, run = tmp_path / "set", tmp_path / "run"
    draw(root, *(f"train/{c}/{i}.png" for c in "ab" for i in range(8)), *(f"test/{c}/9.png" for c in "ab"))
    (root / "train/a/bad.png").write_bytes(b"x")
    data = DataConfig(name=f"folder:{root}", image_size=8, val_fraction=0.0, on_bad_image="skip")
    tested = trainer.train(config(data), run, Console())
    assert tested["skipped"] == 1
    kept = json.loads((run / "data.json").read_text())
    assert (kept["classes"], kept["image_shape"]) == (["a", "b"], [8, 8, 3])
    assert kept["images"] == {"train": [8, 8], "validation": [0, 0], "test": [1, 1]}
    assert kept["skipped"] == ["train/a/bad.png (not an image that Pillow can read)"]
    draw(root, "train/a/more.png", "train/b/more.png", "train/c/0.png", "test/c/0.png")
    evaluated = evaluate.evaluate(run, "test", Console())
    assert evaluated["loss"] == tested["loss"]  # not so with the statistics of the larger set
    with pytest.raises(UserError, match=r"those that the run began with: 4 new \(train/a/more.png, train/b/more.png, "):
        trainer.train(config(data, steps=6), run, Console())
    assert json.loads((run / "data.json").read_text()) == kept


def test_another_cut_at_equal_counts_is_noticed():
    """Published sets are verified; that they are cut as before shows in the order of their labels."""
    digits, again = load(DataConfig()), load(DataConfig())
    assert again.facts() == digits.facts()
    other = load(DataConfig(split_seed=1))
    assert [other.counts(s).tolist() for s in (other.train, other.test)] == [
        digits.counts(s).tolist() for s in (digits.train, digits.test)
    ]
    with pytest.raises(UserError, match="has changed since the run in here began: labels"):
        other.as_in(digits.facts(), "here")


def test_the_last_lines_of_a_run_count_what_was_left_out(tmp_path, capsys):
    found = {"top1": 0.5, "count": 10, "interval": (0.2, 0.8), "loss": 1.0, "epoch": 1, "step": 9, "weights": "ema"}
    validated, unvalidated = tmp_path / "validated", tmp_path / "unvalidated"
    for folder, split in ((validated, "validation"), (unvalidated, "train")):
        (folder / "tensorboard").mkdir(parents=True)
        record = {"kind": "epoch", "split": split, "step": 9, "epoch": 1.0, "top1": 0.5, "loss": 1.0, "weights": "raw"}
        (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    for skipped in (0, 3):
        log_result(found | {"skipped": skipped}, Config(), validated, Console())
    said = capsys.readouterr().out
    assert said.count(f"Checkpoints, metrics.jsonl and tensorboard are in {validated}\n") == 2
    assert said.count("3 files that can't be read were left out") == 1
    assert said.count("epoch 1, the best on validation") == 2
    log_result(found | {"step": 0, "epoch": 0}, Config(), validated, Console())
    assert "epoch 0, the pretrained weights" in capsys.readouterr().out
    averaged = Config(train=TrainConfig(ema_decay=0.9))
    for name, folder, words in (
        ("raw", validated, "epoch 1, the best on validation, raw weights\n"),
        ("ema", validated, "epoch 1, the best on validation, averaged weights\n"),
        ("ema", unvalidated, "epoch 1, the last, averaged weights, as no validation split was held out\n"),
    ):
        log_result(found | {"weights": name}, averaged, folder, Console())
        assert capsys.readouterr().out.endswith(words)


def test_given_statistics_are_used_and_measured_ones_are_kept_to_the_bit(tmp_path):
    given = load(DataConfig(mean=(0.25,), std=(0.5,)))
    assert [part.tolist() for part in given.mean_std()] == [[0.25], [0.5]]
    measured = load(DataConfig())
    back = measured.as_in(json.loads(json.dumps(measured.facts())), "here")
    assert all(np.array_equal(a, b) for a, b in zip(back.mean_std(), measured.mean_std(), strict=True))


def test_balanced_weights_make_classes_count_the_same():
    counts = np.asarray([1, 10, 100])
    weights = balanced_weights(counts)
    np.testing.assert_allclose(weights * counts, counts.sum() / 3, rtol=1e-6)
    digits = load(DataConfig(class_weights="balanced"))
    assert digits.class_weights is not None
    np.testing.assert_allclose(digits.class_weights * digits.counts(digits.train), 129.3, rtol=1e-6)
    assert load(DataConfig()).class_weights is None


@pytest.mark.parametrize("grad_accum_steps", [1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_weighted_loss_is_numpys(grad_accum_steps, mixed, smoothing):
    """The gradient of sum_i w_i loss_i / sum_i w_i over the unmasked examples, by NumPy in float64."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((6, 2, 2, 1)).astype(np.float32)
    labels = np.asarray([0, 1, 1, 2, 2, 0], np.int32)
    rows = rng.dirichlet(np.ones(3), 6).astype(np.float32) if mixed else np.eye(3, dtype=np.float32)[labels]
    weights = np.asarray([0.2, 1.5, 4.0], np.float32)
    mask = np.asarray([True, True, True, True, True, False])
    model, optimizer = models.create("linear", num_classes=3), optax.sgd(1.0)
    state = create_state(model, optimizer, (2, 2, 1), jax.random.key(0))
    before = jax.device_get(state.params)
    batch = make_batch(jnp.asarray(images), jnp.asarray(rows if mixed else labels))
    batch["mask"] = jnp.asarray(mask)
    step = make_train_step(
        model,
        optimizer,
        class_weights=weights,
        grad_accum_steps=grad_accum_steps,
        loss=functools.partial(cross_entropy, smoothing=smoothing),
    )
    after, report = step(state, batch)
    after = jax.device_get(after.params)
    kernel = next(leaf for leaf in jax.tree.leaves(before) if leaf.ndim == 2).astype(np.float64)
    bias = next(leaf for leaf in jax.tree.leaves(before) if leaf.ndim == 1).astype(np.float64)
    inputs = images.reshape(6, -1).astype(np.float64)
    logits = inputs @ kernel + bias
    chance = np.exp(logits - logits.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    each = (rows @ weights.astype(np.float64)) * mask
    errors = (chance - ((1 - smoothing) * rows + smoothing / 3)) * each[:, None] / each.sum()
    moved = [a - b for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)]
    np.testing.assert_allclose(next(m for m in moved if m.ndim == 2), inputs.T @ errors, atol=2e-6)
    np.testing.assert_allclose(next(m for m in moved if m.ndim == 1), errors.sum(axis=0), atol=2e-6)
    assert report.metrics.count == 5  # what is reported stays the plain mean
    # PyTorch's is the same without smoothing and mixtures, and not with them, as the option's help says.
    torch_logits = torch.tensor(logits[:5], requires_grad=True)
    target = torch.tensor(rows[:5], dtype=torch.float64) if mixed else torch.tensor(labels[:5], dtype=torch.long)
    loss = torch.nn.CrossEntropyLoss(torch.tensor(weights, dtype=torch.float64), label_smoothing=smoothing)
    loss(torch_logits, target).backward()
    assert torch_logits.grad is not None
    same = np.allclose(torch_logits.grad.numpy(), errors[:5], atol=1e-6)
    assert same == (not mixed and not smoothing)


def test_manual_dir_may_change_and_the_data_may_not():
    from fcnn.config.serialize import differences

    here = Config(data=DataConfig(name="mnist", manual_dir="a"))
    assert differences(here, Config(data=DataConfig(name="mnist"))) == []
    assert differences(here, Config(data=dataclasses.replace(here.data, class_weights="balanced")))
