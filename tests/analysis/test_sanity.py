"""`fcnn check`: it finds each fault that is planted, and nothing in a network that has none."""

import csv
import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from PIL import Image

from fcnn import cli
from fcnn.analysis import sanity
from fcnn.analysis.sanity import depth, images, learning_rate
from fcnn.analysis.sanity.trial import start_state
from fcnn.config import Config, ModelConfig, OptimConfig, TrainConfig, TransferConfig
from fcnn.data import Dataset, Split, load, pipeline
from fcnn.distributed import sharding
from fcnn.models import classifier, mlp
from fcnn.nn import BatchNorm
from fcnn.report import Console
from fcnn.training import run_data
from fcnn.training.setup import TrainSetup, make_setup
from fcnn.weights import Network, NetworkInfo, write_network

# Small, and with everything that can go wrong: batch norm, dropout, a rate that suits it.
SOUND = Config(
    model=ModelConfig(name="mlp", width_multiplier=0.5, norm="batch", dropout=0.1),
    optim=OptimConfig(learning_rate=0.1, schedule="constant"),
    train=TrainConfig(ema_decay=0.9),
)


class StuckInEvaluation(mlp.MLP):
    def forward(self, x, train, endpoint):
        return super().forward(x, False, endpoint)


class StuckInTraining(mlp.MLP):
    def forward(self, x, train, endpoint):
        return super().forward(x, True, endpoint)


class ZeroKernels(mlp.MLP):
    @property
    def dense(self):
        return functools.partial(super().dense, kernel_init=nn.initializers.zeros)


class Frozen(mlp.MLP):
    def forward(self, x, train, endpoint):
        x = self.dense(64, name="first")(x.reshape(len(x), -1))
        return super().forward(jax.lax.stop_gradient(x), train, endpoint)


class Dead(mlp.MLP):
    @nn.nowrap
    def layers(self, train):
        conv, norm, _ = super().layers(train)
        return conv, norm, lambda x: nn.relu(x - 100)


class Loud(mlp.MLP):
    def forward(self, x, train, endpoint):
        return 30 * super().forward(x, train, endpoint)


def changed(config: Config, **parts) -> Config:
    """A config with some fields of its parts changed: `changed(SOUND, optim=dict(learning_rate=1.0))`."""
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **fields) for name, fields in parts.items()}
    )


def with_config(**parts) -> Callable[..., TrainSetup]:
    return lambda setup, _: make_setup(
        changed(setup.config, **parts), load(changed(setup.config, **parts).data), setup.mesh
    )


def with_model(kind: type, **fields) -> Callable[..., TrainSetup]:
    def plant(setup, _):
        options = {field.name: getattr(setup.model, field.name) for field in dataclasses.fields(setup.model)}
        del options["parent"], options["name"]
        return dataclasses.replace(setup, model=kind(**{**options, **fields}))

    return plant


def with_data(change: Callable[[Dataset], dict]) -> Callable[..., TrainSetup]:
    return lambda setup, _: make_setup(
        setup.config, dataclasses.replace(setup.dataset, **change(setup.dataset)), setup.mesh
    )


def with_optimizer(last: optax.GradientTransformation) -> Callable[..., TrainSetup]:
    return lambda setup, _: dataclasses.replace(setup, optimizer=optax.chain(setup.optimizer, last))


def no_shuffling(setup, monkeypatch):
    monkeypatch.setattr(pipeline, "epoch_order", lambda seed, epoch, size: np.arange(size, dtype=np.int32))
    train = setup.dataset.train
    return with_data(lambda data: {"train": train.take(np.argsort(train.labels, kind="stable"))})(setup, monkeypatch)


def slow_averages(setup, monkeypatch):
    def slow(*args, **options):
        return BatchNorm(*args, **{**options, "momentum": 0.9999})

    monkeypatch.setattr(classifier, "BatchNorm", slow)
    return setup


def shuffled_labels(data):
    return {"train": Split(data.train.images, np.random.default_rng(0).permutation(data.train.labels))}


def leaking(data):
    images = np.concatenate([data.train.images, data.validation.images])
    return {"train": Split(images, np.concatenate([data.train.labels, data.validation.labels]))}


def blank(data):
    return {"train": Split(np.zeros_like(data.train.images), data.train.labels)}


def first_layer(params):
    return {name: jax.tree.map(lambda _, name=name: name == "hidden1", layer) for name, layer in params.items()}


FROZEN = optax.masked(optax.set_to_zero(), first_layer)
DEEP = dict(norm="none", activation="sigmoid", hidden=(32,) * 9)


# What is wrong, how it is planted, the part of the check that must find it, and the lines that must say so.
FAULTS = {
    "labels shuffled": (with_data(shuffled_labels), "images", ("labels",)),
    "validation images in training": (with_data(leaking), "images", ("leak",)),
    "images all black": (with_data(blank), "images", ("inputs",)),
    "no normalization": (with_config(data=dict(mean=(0.0,), std=(1.0,))), "images", ("inputs",)),
    "a class too many": (with_data(lambda data: {"classes": (*data.classes, "ten")}), "images", ("classes",)),
    "too few outputs": (with_model(mlp.MLP, num_classes=9), "images", ("classes",)),
    "no shuffling": (no_shuffling, "images", ("order",)),
    "augmentation hides the image": (with_config(augment=dict(noise=1.0, cutout=16)), "images", ("augmentation",)),
    "logits too large": (with_model(Loud), "first steps", ("initial loss",)),
    "ten layers of sigmoid": (with_model(mlp.MLP, **DEEP), "first steps", ("signal", "gradient by depth")),
    "dead ReLUs": (with_model(Dead, norm="none"), "first steps", ("dead units",)),
    "kernels of zeros": (with_model(ZeroKernels), "first steps", ("gradients",)),
    "frozen by stop_gradient": (with_model(Frozen), "first steps", ("gradients",)),
    "frozen by the optimizer": (with_optimizer(FROZEN), "first steps", ("gradients",)),
    "uphill": (with_optimizer(optax.scale(-1.0)), "first steps", ("first steps",)),
    "stuck in evaluation": (with_model(StuckInEvaluation), "first steps", ("training mode",)),
    "stuck in training": (with_model(StuckInTraining), "first steps", ("evaluation mode",)),
    "too small to learn anything": (with_model(mlp.MLP, hidden=(1,)), "a few images", ("overfit",)),
    "averages too slow": (slow_averages, "a few images", ("batch norm",)),
    "rate 1000 times too high": (with_config(optim=dict(learning_rate=100.0)), "rate", ("learning rate",)),
    "average longer than the run": (with_config(train=dict(ema_decay=0.9999)), "rate", ("weight average",)),
    "rate 100000 times too low": (with_config(optim=dict(learning_rate=1e-6)), "rate", ("learning rate",)),
}


@pytest.fixture(scope="module")
def sound():
    return make_setup(SOUND, load(SOUND.data), sharding.make_mesh())


def verdicts(setup, folder, *parts):
    return {result.name: result for part in parts for result in sanity.PARTS[part](setup, folder, print)}


def test_nothing_is_wrong_with_a_sound_network(sound, tmp_path):
    told = verdicts(sound, tmp_path, *sanity.PARTS)
    for name in ("contact_sheet.png", "depth.png", "learning_rate.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 400
    for name, head in (("depth.csv", "name"), ("learning_rate.csv", "learning_rate")):
        rows = list(csv.reader((tmp_path / name).read_text().splitlines()))
        assert rows[0][0] == head
        assert len(rows) > 3
    assert len(list(tmp_path.iterdir())) == 5
    assert {name: line.reason for name, line in told.items() if line.verdict != "pass"} == {}
    assert {line for _, _, lines in FAULTS.values() for line in lines} == set(
        told
    )  # for each line there is a fault that it finds


LONG = ("ten layers of sigmoid", "logits too large", "frozen by stop_gradient", "averages too slow", "dead ReLUs")
MARKED = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in FAULTS]


@pytest.mark.parametrize("fault", MARKED)
def test_a_planted_fault_is_found(fault, sound, tmp_path, monkeypatch):
    plant, part, where = FAULTS[fault]
    for module, draw in ((images, "draw_contact_sheet"), (depth, "draw_depth"), (learning_rate, "draw_range_test")):
        monkeypatch.setattr(module, draw, lambda *_: None)
    told = verdicts(plant(sound, monkeypatch), tmp_path, part)
    for line in (told[name] for name in where):
        assert line.verdict == "FAIL", line.reason
        assert line.hint


@pytest.fixture(scope="module")
def weights(sound, tmp_path_factory):
    """The sound network with another mean and standard deviation, as a file."""
    path = tmp_path_factory.mktemp("weights") / "sound.safetensors"
    variables = jax.device_get(sound.init_state().variables)
    info = NetworkInfo(
        model=SOUND.model, classes=sound.dataset.classes, image_shape=sound.dataset.image_shape, mean=(0.5,), std=(0.5,)
    )
    write_network(path, Network(info=info, variables=variables))
    return path, variables


NOT_TRAINED = (
    *("order", "augmentation", "gradient by depth", "dead units", "gradients"),
    *("first steps", "training mode", "overfit", "batch norm", "learning rate"),
)


@pytest.mark.parametrize(
    ("strategy", "skipped"),
    [
        ("head", ("gradient by depth", "batch norm")),
        ("pretrained", NOT_TRAINED),
        pytest.param("full", (), marks=pytest.mark.slow),
    ],
)
def test_the_run_that_is_checked_starts_from_its_weights(strategy, skipped, weights, tmp_path):
    """With their normalization, and nothing fails for what is frozen."""
    path, variables = weights
    transfer = TransferConfig(weights=str(path), strategy=strategy, backbone_lr_scale=1.0)
    setup = run_data.build(dataclasses.replace(SOUND, transfer=transfer), Console(quiet=True))
    assert [float(value[0]) for value in setup.dataset.mean_std()] == [0.5, 0.5]
    start = start_state(setup).variables
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(start), variables)
    lines = verdicts(setup, tmp_path, *sanity.PARTS)
    assert {name: line.reason for name, line in lines.items() if line.failed} == {}
    assert {name for name, line in lines.items() if line.verdict == "skip"} == set(skipped)
    if strategy == "head":
        assert "2 parameters, " in lines["gradients"].reason
        assert "are frozen" in lines["gradients"].reason
        assert "frozen batch norm's running averages stay; dropout drops" in lines["training mode"].reason


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["head", "last_block", "full"])
def test_the_transfer_preset_has_nothing_wrong_by_any_strategy(strategy, tmp_path, capsys):
    arguments = ["check", "--config", "transfer", "--out", str(tmp_path), "--transfer.strategy"]
    assert cli.main([*arguments, strategy]) == 0
    said = capsys.readouterr().out
    assert said.startswith("From cifar10_resnet20. The head is new: the weights know 10 other classes.")
    assert cli.main([*arguments, "pretrained"]) == 2  # a network of animals and vehicles
    assert "the weights don't know 0, 1, 2, 3, 4 and 5 more" in capsys.readouterr().err


@pytest.mark.parametrize("floor", [0.5, 2.0])
def test_the_range_test_reads_a_curve(floor):
    """Flat, a fall around 0.1, a bottom, a rise from 2 on."""
    rate = np.geomspace(learning_rate.LOWEST, learning_rate.HIGHEST, learning_rate.STEPS)
    falling = floor + 2.3 / (1 + (rate / 0.1) ** 2)
    found = learning_rate.read_curve(rate, np.where(rate < 2, falling, 10.0))
    assert 0.03 < found.suggestion < 0.3
    assert 1.3 < found.diverges <= 2.5
    assert learning_rate.read_curve(rate, falling).diverges == np.inf


def test_the_command_tells_and_exits_with_1_if_something_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sanity, "PARTS", {"images": sanity.PARTS["images"]})
    assert cli.main(["check", "--config", "resnet"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].startswith("pass  inputs")
    assert told.endswith("Nothing wrong was found in 6 checks.\n")
    assert [path.name for path in (tmp_path / "runs/check-resnet").iterdir()] == ["contact_sheet.png"]
    assert cli.main(["check", "--config", "resnet", "--data.mean", "0", "--data.std", "1", "--out", "here"]) == 1
    told = capsys.readouterr().out
    assert "\nFAIL  inputs" in "\n" + told
    assert "Try: leave data.mean" in told
    assert told.endswith("1 of 6 checks failed: inputs\n")


MINE = """
import flax.linen as nn
from fcnn.config import Config, OptimConfig

class MyNet(nn.Module):
    @nn.compact
    def __call__(self, images, train: bool):
        x = nn.Dense(64)(images.reshape(len(images), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dropout(0.1, deterministic=not train)(x)
        return nn.Dense(10)(x)

CONFIG = Config(optim=OptimConfig(learning_rate=0.05))

def model(config):
    return MyNet()
"""


def test_a_model_of_ones_own_is_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setattr(sanity, "PARTS", {name: sanity.PARTS[name] for name in ("images", "first steps")})
    assert cli.main(["check", "--config", "mine.py"]) == 0
    out = capsys.readouterr().out
    assert "gradients          6 parameters, " in out
    assert "pass  classes            10 outputs, 10 classes" in out
    assert "batch norm's running averages move; dropout drops" in out


def test_the_verdict_is_there_without_the_picture(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(sanity, "PARTS", {"images": sanity.PARTS["images"]})
    monkeypatch.setattr(images, "contact_sheet", fail)
    assert cli.main(["check", "--config", "resnet", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\ncontact_sheet.png could not be written: no font\n" in out
    assert out.endswith("Nothing wrong was found in 6 checks.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "needs a preset: fcnn check --config NAME"),
        (("resnet",), "fcnn check --config resnet"),
        (("--config", "resnt"), "did you mean resnet"),
        (("--config", "resnet", "--out", "file"), "must be a folder"),
    ],
)
def test_what_can_not_be_checked_is_a_line(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert cli.main(["check", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
