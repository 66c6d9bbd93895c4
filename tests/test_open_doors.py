"""What users bring: a network, images, an optimizer, a loss, callbacks, as arguments and from a preset file."""

import re
import signal
from typing import Any

import chex
import numpy as np
import optax
import pytest
from harness import ROOT, comparable, start
from PIL import Image

import fcnn
from fcnn import cli
from fcnn.data import from_arrays
from fcnn.utils.errors import UserError

PROGRAM = (ROOT / "examples/own_model.py").read_text()
PRESET = str(ROOT / "examples/own_preset.py")
SHORT = ["--train.epochs", "2", "--workdir", "run"]


def run(program, cwd):
    with start("-c", program, cwd=cwd) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_a_program_of_25_lines_killed_and_run_again_gives_what_it_gives_undisturbed(tmp_path):
    assert len([line for line in PROGRAM.splitlines() if line and not line.startswith('"""')]) <= 25
    (tmp_path / "whole").mkdir()
    code, out, err = run(PROGRAM, tmp_path / "whole")
    assert code == 0, err
    accuracy, classes = re.findall(r"\n(0\.\d+)\n\[(.*)\] \[.*\]\n$", out)[0]
    assert float(accuracy) > 0.9
    assert classes == "0 1 2"
    killed = PROGRAM.replace('print(record["step"])', "record['step'] > 90 and __import__('os').kill(0, 9)")
    with start("-c", killed, cwd=tmp_path, start_new_session=True) as process:
        process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert 0 < comparable(tmp_path / "runs/own")[-1]["step"] < 200
    code, again, err = run(PROGRAM, tmp_path)
    assert code == 0, err
    assert "Continuing from step" in again
    assert comparable(tmp_path / "runs/own") == comparable(tmp_path / "whole/runs/own")
    assert (tmp_path / "own.safetensors").read_bytes() == (tmp_path / "whole/own.safetensors").read_bytes()


def test_the_same_from_a_preset_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--config", PRESET, *SHORT]) == 0
    out = capsys.readouterr().out
    assert out.startswith("MyNet, ")
    assert "recorded epoch validation" in out
    assert "recorded test test" in out
    assert "learning_rate" not in comparable(tmp_path / "run")[0]
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("x.png")
    for command in (["evaluate", "run"], ["predict", "run", "x.png"], ["export", "run"], ["show", "run"]):
        assert cli.main(command) == 2
        assert "--config FILE.py" in capsys.readouterr().err
        assert cli.main([*command, "--config", PRESET]) == 0
    assert cli.main(["export", "run", "--config", PRESET, "--format", "stablehlo"]) == 0
    out = {}
    for name in ("run", "run/model.safetensors", "run/model.stablehlo"):
        capsys.readouterr()
        own = [] if name.endswith("hlo") else ["--config", PRESET]
        assert cli.main(["predict", name, "x.png", *own]) == 0
        out[name] = capsys.readouterr().out
    assert len(set(out.values())) == 1
    assert cli.main(["train", "--config", "resnet", "--train.epochs", "2", "--workdir", "run"]) == 2


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"model": fcnn.create_model("mlp", num_classes=3)}, r"gives \(1, 3\) for one image; logits must be \(1, 4\)"),
        ({"loss": lambda logits, labels: logits.sum(), "smooth": 0.1}, "have no effect with your own loss"),
        ({"optimizer": optax.sgd(0.1), "rate": 0.5}, "optim.* has no effect with your own optimizer"),
        ({"optimizer": 3}, "optimizer must be a transformation of Optax, got int"),
        ({"loss": lambda logits, labels: logits}, r"loss must give \(8,\) for logits \(8, 4\), .* got \(8, 4\)"),
        ({"loss": lambda logits, labels: 1 / 0}, "your own loss fails: ZeroDivisionError: division by zero"),
        ({"augment": lambda key, batch: batch["image"]}, "augment must return the batch, a dict"),
        ({"augment": lambda key, batch: batch | {"image": batch["image"][:1]}}, "as many images as it gets"),
        ({"callbacks": [3]}, "callbacks must be a list of functions"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(own, message, tmp_path):
    optim = fcnn.OptimConfig(learning_rate=own.pop("rate", 0.1), label_smoothing=own.pop("smooth", 0.0))
    dataset = from_arrays(np.zeros((80, 4, 4), np.uint8), np.arange(80) % 4)
    config = fcnn.Config(optim=optim, train=fcnn.TrainConfig(batch_size=8))
    with pytest.raises(UserError, match=message):
        fcnn.train(config, workdir=tmp_path / "run", dataset=dataset, quiet=True, **own)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def model(config):\n    return 1 / 0", "line 4: ZeroDivisionError: division by zero"),
        ("model = 3", "model must be a function of the config"),
        ("raise SystemExit(3)", "line 3: SystemExit: 3"),
        ("raise ValueError('a\\nb\\n' * 9)", "line 3: ValueError: a\n"),
        ("def dataset(config):\n    return 3", "dataset must be a data set"),
        ("def callbacks(config):\n    return 3", "callbacks must be a list of functions"),
    ],
)
def test_a_preset_that_fails_is_answered_with_its_line(text, message, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(f"from fcnn.config import Config\nCONFIG = Config()\n{text}\n")
    assert cli.main(["train", "--config", str(path), "--workdir", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_a_pretrained_model_in_one_call():
    """The zoo's own, by its architecture: the numbers of `fcnn.load`; another head, the same layers before it."""
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    network = fcnn.load("cifar10_resnet20")
    model, variables = fcnn.create_model("resnet20", pretrained=True)
    logits: Any = model.apply(variables, network.preprocess(images), train=False)
    expected = network.apply(network.variables, network.preprocess(images))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    three, others = fcnn.create_model("resnet20", num_classes=3, pretrained="cifar10_resnet20", dropout=0.5)
    assert (three.num_classes, three.dropout, others["params"]["head"]["kernel"].shape) == (3, 0.5, (64, 3))
    chex.assert_trees_all_equal(others["params"] | {"head": 0}, variables["params"] | {"head": 0})
    chex.assert_trees_all_equal(others["batch_stats"], variables["batch_stats"])
    assert fcnn.create_model("resnet20").num_classes == 10
    fields: dict[str, Any]
    for name, weights, fields, message in (
        ("lenet5", True, {}, "no pretrained weights of lenet5"),
        ("lenet5", "lenet5", {}, "no pretrained weights of lenet5"),
        ("resnet32", "cifar10_resnet20", {}, "has the weights of resnet20, not of resnet32"),
        ("resnet21", True, {}, "did you mean resnet"),
        ("resnet20", "resnet20", {"activation": "silu"}, "was trained with activation relu, not silu"),
        ("resnet20", True, {"width_multiplier": 0.5}, "was trained with width_multiplier 1.0, not 0.5"),
    ):
        with pytest.raises(fcnn.UserError, match=message):
            fcnn.create_model(name, pretrained=weights, **fields)
