"""The configuration: what it refuses, and that it comes back from its file as it went in."""

import ast
import dataclasses
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnn import nn
from fcnn.augment import policies
from fcnn.cli.parse import named_options
from fcnn.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    images,
    names,
    presets,
    schema,
    serialize,
)
from fcnn.data import builders
from fcnn.training import metrics, optim
from fcnn.utils.errors import UserError


def test_the_tables_of_names_are_those_of_the_implementations():
    assert set(names.ACTIVATIONS) == set(nn.ACTIVATIONS)
    assert set(names.INITIALIZERS) == set(nn.INITIALIZERS)
    assert set(names.DATASETS) == set(builders.BUILDERS)
    assert set(names.OPTIMIZERS) == set(optim.OPTIMIZERS)
    assert set(names.SCHEDULES) == set(optim.SCHEDULES)
    assert set(names.LOSSES) == set(metrics.LOSSES)
    assert set(names.POLICIES) == {"none", *policies.POLICIES}
    fields = {field.name for field in dataclasses.fields(OptimConfig)}
    assert fields >= {option for table in (names.OPTIMIZERS, names.SCHEDULES) for t in table.values() for option in t}


FILES = [Path(str(module.__file__)) for module in (schema, images)]


def test_every_field_says_what_it_is():
    for node in [n for path in FILES for n in ast.parse(path.read_text()).body]:
        if isinstance(node, ast.ClassDef):
            for field, after in pairwise([*node.body, None]):
                if isinstance(field, ast.AnnAssign) and not ast.unparse(field.annotation).endswith("Config"):
                    assert isinstance(after, ast.Expr), f"{node.name}: {ast.unparse(field)} has no docstring"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DataConfig(name="digit"), "unknown data.name 'digit'; did you mean digits?"),
        (lambda: DataConfig(val_fraction=1.0), "data.val-fraction must be at least 0 and at most 0.9"),
        (lambda: ModelConfig(name="resnet21"), "did you mean resnet"),
        (lambda: ModelConfig(dropout=1.0), "model.dropout"),
        (lambda: AugmentConfig(auto_augment="randaugment"), "did you mean rand_augment"),  # pyright: ignore[reportArgumentType]  # wrong on purpose
        (lambda: AugmentConfig(magnitude=5), "augment.magnitude has no effect without augment.auto-augment rand_aug"),
        (lambda: AugmentConfig(mixup_off_epochs=1), "has no effect without augment.mixup or augment.cutmix"),
        (lambda: TrainConfig(log_steps=2**31), "train.log-steps must be at least 1 and at most 2147483647"),
        (lambda: TrainConfig(steps=10**400), "train.steps must be at least 1 and at most 2147483647, got 1000"),
        (lambda: OptimConfig(loss="bce"), "unknown optim.loss 'bce'"),  # pyright: ignore[reportArgumentType]  # wrong on purpose
        (lambda: OptimConfig(name="adamm"), "did you mean adam"),
        (lambda: OptimConfig(name="adam", nesterov=True), "optim.nesterov needs optim.name sgd"),
        (lambda: OptimConfig(momentum=0.0, nesterov=True), "with a momentum above 0"),
        (lambda: OptimConfig(schedule="cosin"), "did you mean cosine"),
        (lambda: OptimConfig(learning_rate=0.0), "optim.learning-rate must be above 0"),
        (lambda: OptimConfig(learning_rate=float("nan")), "optim.learning-rate"),
        (lambda: OptimConfig(learning_rate=float("inf")), "optim.learning-rate"),
        (lambda: OptimConfig(name="adam", momentum=0.9), "optim.momentum has no effect with adam"),
        (
            lambda: OptimConfig(schedule="constant", end_lr_factor=0.1),
            "optim.end-lr-factor has no effect with constant",
        ),
        (lambda: OptimConfig(schedule="exponential", end_lr_factor=0.0), "above 0 with exponential"),
        (lambda: OptimConfig(schedule="step", milestones=(0.7, 0.5)), "optim.milestones must rise"),
        (lambda: OptimConfig(schedule="one_cycle", warmup_epochs=1), "its own warm-up"),
        (lambda: OptimConfig(name="schedule_free_sgd"), "schedule_free_sgd needs optim.schedule constant"),
        (
            lambda: Config(
                optim=OptimConfig(name="schedule_free_sgd", schedule="constant"), train=TrainConfig(ema_decay=0.9)
            ),
            "train.ema-decay doesn't go with optim.name schedule_free_sgd",
        ),
        (lambda: OptimConfig(label_smoothing=1.0), "optim.label-smoothing"),
        (lambda: TrainConfig(epochs=cast(Any, "3")), "train.epochs must be a number, got '3'"),
        (lambda: TrainConfig(batch_size=0), "train.batch-size must be at least 1"),
        (lambda: TrainConfig(batch_size=10, grad_accum_steps=3), "does not divide"),
        (lambda: TrainConfig(ema_decay=1.0), "train.ema-decay"),
        (lambda: Config(seed=-1), "seed must be at least 0"),
        (lambda: Config(precision=cast(Any, "float16")), "unknown precision 'float16'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(make, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        make()
    assert "\n" not in str(caught.value)


configs = st.builds(
    Config,
    data=st.builds(DataConfig, val_fraction=st.floats(0, 0.9)),
    optim=st.builds(
        OptimConfig,
        name=st.just("sgd"),
        learning_rate=st.floats(1e-6, 10),
        schedule=st.just("step"),
        milestones=st.none() | st.just((0.25, 0.5)),
        clip_norm=st.none() | st.floats(0.1, 10),
    ),
    train=st.builds(TrainConfig, steps=st.none() | st.integers(1, 10**7), batch_size=st.integers(1, 4096)),
    precision=st.sampled_from(["float32", "bfloat16"]),
    seed=st.integers(0, 2**32 - 1),
)


@given(configs)
def test_a_config_comes_back_from_json(made):
    assert serialize.from_json(serialize.to_json(made), "here") == made
    # As the options of a command line, the fields that differ are those that are named.
    before, after = serialize.flatten(Config()), serialize.flatten(made)
    different = {name for name in before if before[name] != after[name]}
    assert named_options(serialize.options(Config(), made)) == different


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["optim"].update(learning_rat=1.0), "unknown field 'optim.learning_rat'; did you mean optim."),
        (lambda d: d["train"].update(epochs="3"), "train.epochs has the wrong type: '3'"),
        (lambda d: d["train"].update(batch_size=True), "train.batch_size has the wrong type"),
        (lambda d: d.update(optim=3), "must be an object"),
        (lambda d: d["data"].update(val_fraction=7.0), "data.val-fraction must be"),
    ],
)
def test_a_damaged_config_file_is_named(change, words):
    values = json.loads(serialize.to_json(Config()))
    change(values)
    with pytest.raises(UserError, match=r"^runs/x/config\.json: ") as caught:
        serialize.from_json(json.dumps(values), "runs/x/config.json")
    assert words in str(caught.value)
    for text in ("{", b"\xff\xfe{", b"", "[" * 100_000, "3"):
        with pytest.raises(UserError, match=r"^here: "):
            serialize.from_json(text, "here")


def test_only_what_matters_makes_another_run():
    before = Config()
    longer = dataclasses.replace(before, train=TrainConfig(epochs=80, log_steps=1))
    assert serialize.differences(before, longer) == []
    other = dataclasses.replace(before, seed=3, optim=OptimConfig(learning_rate=0.2))
    assert serialize.differences(before, other) == ["optim.learning-rate: 0.1 -> 0.2", "seed: 0 -> 3"]
    assert set(serialize.flatten(before)) >= serialize.MAY_CHANGE


def test_a_duration_is_in_epochs_or_in_steps():
    assert schema.in_steps(2.5, None, 20) == 50
    assert schema.in_steps(2.5, 7, 20) == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Config(model=None)", "model has the wrong type: None"),
        ("Config(data=DataConfig(mean=3, std=3))", "line 2: TypeError"),
        ("Config(model=ModelConfig(options=3))", "model.options has the wrong type: 3"),
        ("Config(data=DataConfig(image_size=32.0))", "data.image_size has the wrong type: 32.0"),
        ("Config(augment=AugmentConfig(flip=1))", "augment.flip has the wrong type: 1"),
        ("Config(optim=OptimConfig(schedule='step', milestones=[0.5]))", r"milestones has the wrong type: \[0.5\]"),
        ("Config(data=DataConfig(name='folder:\\0'))", "data.name is no path of a file"),
        ("Config(transfer=TransferConfig(weights='\\ud800'))", "transfer.weights is no path of a file"),
    ],
)
def test_a_field_of_a_preset_has_its_type(text, words, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"from fcnn.config import *\nCONFIG = {text}\n")
    with pytest.raises(UserError, match=words):
        presets.load_preset(str(path))


def test_presets_are_configs_and_broken_ones_are_named(tmp_path):
    assert "resnet" in presets.names()
    for name in presets.names():
        assert isinstance(presets.load_preset(name), Config)
    mine = tmp_path / "mine.py"
    mine.write_text("from fcnn.config import Config, TrainConfig\nCONFIG = Config(train=TrainConfig(epochs=-1))\n")
    with pytest.raises(UserError, match=r"mine.py, line 2: ValueError: train.epochs must be above 0, got -1"):
        presets.load_preset(str(mine))
    mine.write_text("from fcnn.config import OptimConfig\nOptimConfig(lr=1)\n")
    with pytest.raises(UserError, match=r"line 2: unknown field of OptimConfig 'lr'; did you mean learning_rate\?"):
        presets.load_preset(str(mine))
    mine.write_text("CONFIG = 3\n")
    with pytest.raises(UserError, match="must define CONFIG"):
        presets.load_preset(str(mine))
    with pytest.raises(UserError, match="did you mean resnet"):
        presets.load_preset("resnett")


def test_a_preset_may_import_what_is_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "beside_the_preset.py").write_text("EPOCHS = 7\n")
    preset = tmp_path / "mine.py"
    preset.write_text(
        "from beside_the_preset import EPOCHS\nfrom fcnn.config import Config, TrainConfig\n"
        "CONFIG = Config(train=TrainConfig(epochs=EPOCHS))\n"
    )
    assert presets.load_preset(str(preset)).train.epochs == 7
