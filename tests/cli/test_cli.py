"""The command line: a mistake is answered in a line, before jax is imported, and leaves nothing behind."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from harness import ROOT, start
from hypothesis import given
from hypothesis import strategies as st

from fcnn import cli
from fcnn.cli.evaluate import class_table
from fcnn.cli.parse import COMMON, named_options
from fcnn.config import Config, serialize

TRAIN = ("train", "--config", "resnet")

MISTAKES = [
    (("trian",), "unknown command 'trian'; did you mean train?"),
    (("train",), "presets: alexnet_imagenet, cifar10_fast, cifar10_resnet20, "),
    (("train", "resnet", "--seed", "1"), "pass the preset with --config: fcnn train --config resnet --seed 1"),
    (("train", "--config"), "--config needs a value"),
    (("train", "--config", "resnt"), "did you mean resnet"),
    (("train", "--config=nothing.py"), "no preset file nothing.py"),
    ((*TRAIN, "--optim.learning-rat", "3"), "did you mean --optim.learning-rate"),
    ((*TRAIN, "--learning-rate", "3"), "did you mean --optim.learning-rate"),
    ((*TRAIN, "--optim.lr", "3"), "did you mean --optim.learning-rate?"),
    ((*TRAIN, "--lr=3"), "did you mean --optim.learning-rate?"),
    ((*TRAIN, "--optim.learning-rate", "fast"), "--optim.learning-rate takes a number, got 'fast'"),
    ((*TRAIN, "--train.steps", "many"), "--train.steps takes a whole number, got 'many'"),
    ((*TRAIN, "--data.value-range", "9"), "--data.value-range takes FLOAT FLOAT, got '9'"),
    (("search", "resnet"), "fcnn search needs a preset: fcnn search --config resnet, or --config FILE.py; presets:"),
    (("plan", "--config", "resnet"), "fcnn plan needs --target CHIP:SHAPE"),
    ((*TRAIN, "--train.batch-size", "1.5"), "--train.batch-size takes a whole number, got '1.5'"),
    ((*TRAIN, "--optim.learning-rate=-1"), "optim.learning-rate must be above 0, got -1.0"),
    ((*TRAIN, "--optim.name", "adamm"), "unknown optim.name 'adamm'; did you mean adam"),
    ((*TRAIN, "--optim.decay-mask", "none"), "--optim.decay-mask must be one of all, kernels, got 'none'"),
    ((*TRAIN, "--train.epochs"), "--train.epochs needs a value"),
    ((*TRAIN, "--seed", "-1"), "seed must be at least 0 and at most"),
    ((*TRAIN, "--seeds", "a"), "like 0,1,2; got 'a'"),
    ((*TRAIN, "--seeds", "1,1"), "names a seed twice"),
    ((*TRAIN, "fast"), "unexpected argument 'fast'"),
    ((*TRAIN, "--train.steps", "9", "--train.epochs=40"), "--train.epochs has no effect: --train.steps 9 overrides it"),
    (("bench", "all", "--batch", "128"), "--batch has no effect with all"),
    (("evaluate",), "WORKDIR|FILE|NAME is required"),
    (("evaluate", "nowhere"), "there is no folder nowhere"),
    (
        ("evaluate", "nowhere", "--split", "tset"),
        "--split must be one of all, test, train, validation",
    ),
    (("evaluate", "nowhere", "--jsn"), "did you mean --json"),
    (("doctor", "--json"), "unknown option '--json'; known: --help"),
    (("completion", "tcsh"), "SHELL must be one of bash, fish, zsh, got 'tcsh'"),
]


@pytest.mark.parametrize(("args", "words"), MISTAKES, ids=lambda value: " ".join(value) if type(value) is tuple else "")
def test_a_mistake_is_answered_in_a_line_and_leaves_nothing(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(args) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert len(said.err.strip().splitlines()) <= 2
    assert said.out == ""
    assert not list(tmp_path.iterdir())


@given(epochs=st.sampled_from([40.0, 3.0]), name=st.sampled_from(["resnet20", "vgg11"]), flip=st.booleans())
def test_a_field_is_named_whatever_its_value(epochs, name, flip):
    words = [f"--train.epochs={epochs}", "--model.name", name, "--augment.flip" if flip else "--augment.no-flip"]
    assert named_options([*words, "--optim.weight-decay", "-1"]) == {
        "train.epochs", "model.name", "augment.flip", "optim.weight_decay"
    }  # fmt: skip
    assert named_options(["photos", "--json"]) == {"json"}


def test_a_mistake_is_answered_without_jax(tmp_path):
    program = (
        "import sys\nfrom fcnn.cli import main\ntry:\n    code = main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    code = stop.code\n"
        "print(code, sorted({'jax', 'flax', 'numpy', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules)))"
    )
    for args in ([*TRAIN, "--optim.nme", "adam"], ["evaluate", "nowhere"], ["train", "--help"]):
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program, *args]
        found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert found.stdout.endswith("0 []\n" if "--help" in args else "2 []\n"), found.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_runs_records_need_no_pytorch(tmp_path):
    """Which TensorBoard's writer would import: 3 seconds."""
    program = (
        "import sys; from pathlib import Path; from fcnn.report.records import Records; Records(Path('.'), 0, print)"
    )
    with start("-c", f"{program}; print('torch' in sys.modules)", cwd=tmp_path) as process:
        out, err = process.communicate(timeout=60)
    assert out == "False\n", err
    assert list((tmp_path / "tensorboard").iterdir())


def read_help(capsys, *args):
    """What a command prints for its help, on one line and without the boxes."""
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_help_is_short_and_shows_the_values_of_the_preset(capsys):
    text = read_help(capsys, *TRAIN, "--help")
    options = re.findall(r"(?<= )--[a-z.-]+(?= )", text)
    assert len({option for option in options if "--no-" not in option and ".no-" not in option} - {"--help-all"}) <= 23
    assert "--config NAME|FILE.py A shipped preset by name" in text
    assert "--train.batch-size INT Images per step, over all devices. (default: 64)" in text
    assert "--train.epochs FLOAT Passes over the training split. (default: 20)" in text
    assert text.endswith("fcnn train --help-all shows all.")
    assert "--optim.beta2" not in text
    assert cli.main([]) == 0
    assert "evaluate" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "check", "search", "plan"])
def test_the_whole_help_has_every_field_of_the_config(command, capsys):
    text = read_help(capsys, command, "--config", "resnet", "--help-all")
    for field in serialize.flatten(Config()):
        assert field == "model.options" or f"--{field.replace('_', '-')}" in text
    assert "the loss of PyTorch's CrossEntropyLoss(weight=...)" in text
    assert "(default: 0.005)" in text


def test_every_field_in_the_short_help_is_one():
    assert set(serialize.flatten(Config())) >= COMMON


@pytest.mark.parametrize(
    "command", [*(name for name in cli.COMMANDS if name != "data"), "data show", "data prepare", "bench data"]
)
def test_every_command_has_a_help(command, capsys):
    assert read_help(capsys, *command.split(), "--help").startswith(f"usage: fcnn {command}")


def test_a_refusal_after_the_data_is_known_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*TRAIN, "--train.batch-size", "5000"]) == 2
    assert "larger than the training split, 1293 images" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*"))


FAST = ("--model.name", "linear", "--train.epochs", "1")


def test_several_seeds_give_mean_and_standard_deviation(tmp_path, fcnn):
    found = fcnn(*TRAIN, *FAST, "--seeds", "3,4", "--json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    a, b = (run["top1"] for run in told["runs"])
    assert [run["seed"] for run in told["runs"]] == [3, 4]
    assert told["mean"] == pytest.approx((a + b) / 2)
    assert told["std"] == pytest.approx(abs(a - b) / 2**0.5)
    assert f"mean {100 * told['mean']:.2f} %" in found.stderr
    assert sorted(path.name for path in (tmp_path / "runs/resnet-001").iterdir()) == ["seed-3", "seed-4"]
    for seed in (3, 4):
        assert json.loads((tmp_path / f"runs/resnet-001/seed-{seed}/config.json").read_text())["seed"] == seed


def test_numbered_folders_and_a_preset_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from fcnn.config import Config, ModelConfig, TrainConfig\n"
        "CONFIG = Config(model=ModelConfig(name='linear'), train=TrainConfig(epochs=1))\n"
    )
    for number in ("001", "002"):
        assert cli.main(["train", "--config", "mine.py", "--train.epochs=2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-2].endswith(f"are in runs/mine-{number}")
        assert re.match(
            r"Test accuracy [\d.]+ % \(\d+ of 360; 95 % CI [\d.]+ to [\d.]+ %\), loss [\d.]+: "
            r"epoch \d, the best on validation$",
            lines[-1],
        )
    assert cli.main(["evaluate", "runs/mine-002", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["split"], told["count"], told["workdir"]) == ("test", 360, "runs/mine-002")
    low, high = told["interval"]
    assert low < told["top1"] < high
    hits = sum(told["recall"][name] * told["images"][name] for name in map(str, range(10)))
    assert hits == pytest.approx(told["top1"] * 360)


def test_metrics_are_a_table_of_the_classes_or_of_the_worst():
    recall = {f"class {i}": i / 30 for i in reversed(range(1, 31))} | {"none": None}
    found: dict = dict.fromkeys(("precision", "recall", "f1"), recall)
    found["images"] = {name: 10 * (share is not None) for name, share in recall.items()}
    macro = {"macro": {"precision": 0.25, "recall": 0.5, "f1": 1 / 3}}
    head, *lines, mean = class_table(found | macro).splitlines()
    assert head.startswith("worst 5 of 31 classes")
    assert [line.split()[1] for line in lines] == ["1", "2", "3", "4", "5"]
    assert " ".join(mean.split()) == "mean of all classes 25.00 % 50.00 % 33.33 % 300"
    few = {part: {name: found[part][name] for name in ("class 30", "none", "class 3")} for part in found}
    assert [" ".join(line.split()) for line in class_table(few | macro).splitlines()] == [
        "class precision recall F1 images",
        "class 30 100.00 % 100.00 % 100.00 % 10",
        "none - - - 0",
        "class 3 10.00 % 10.00 % 10.00 % 10",
        "mean of all classes 25.00 % 50.00 % 33.33 % 20",
    ]


def wait_for(process, beginning):
    """Reads what a process prints up to the line that begins so."""
    for line in process.stdout:
        if line.startswith(beginning):
            return
    raise AssertionError(f"{beginning!r} never came: {process.stderr.read()}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number, code):
    options = ["--config", "resnet", "--model.name", "mlp", "--train.epochs", "10000"]
    with start(str(ROOT / "train.py"), *options, cwd=tmp_path) as process:
        wait_for(process, "epoch 2")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "finishing the step" in err
    again = out.strip().splitlines()[-1]
    assert again.startswith(f"Saved. To continue: {sys.executable} ")
    assert again.endswith("train.py --config resnet --model.name mlp --train.epochs 10000 --workdir runs/resnet-001")
    steps = [int(path.name) for path in (tmp_path / "runs/resnet-001/checkpoints").iterdir() if path.name.isdigit()]
    assert max(steps) >= 40


QUIET = {"FCNN_CPU_CONV": "lax"}  # where oneDNN is missing, a line on standard error tells, unless it isn't wanted


def test_a_second_run_on_a_workdir_is_refused(tmp_path, fcnn):
    arguments = [*TRAIN, "--model.name", "mlp", "--train.epochs", "10000", "--workdir", "run"]
    with start("-m", "fcnn", *arguments, cwd=tmp_path) as process:
        try:
            wait_for(process, "epoch 1")
            process.send_signal(signal.SIGSTOP)
            second = fcnn(*arguments, cwd=tmp_path, env=QUIET)
        finally:
            process.kill()
            process.communicate()
    assert second.returncode == 2
    assert second.stderr == "fcnn: another run is writing to run; wait for it or take another --workdir\n"


BUSY = """
import hashlib, sys
from fcnn import cli; from fcnn.training import trainer
def compile(*_):
    print("COMPILING", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes in C, without Python's lock
trainer.compile_train_step = compile
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_second_signal_stops_at_once(tmp_path):
    """Also where Python runs no signal handler, as while XLA compiles."""
    with start("-c", BUSY, *TRAIN, "--model.name", "linear", cwd=tmp_path) as process:
        wait_for(process, "COMPILING")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "SIGINT: stopping; once more stops at once.\n" in process.stderr  # reads up to there
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Compiled" not in out


@pytest.mark.slow
def test_a_second_run_compiles_nothing(fcnn, tmp_path):
    """Every program of it is in JAX's cache by then, below XDG_CACHE_HOME."""
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAX_COMPILATION_CACHE_DIR": ""}
    kept = []
    for name in ("a", "b"):
        small = ("--model.name", "linear", "--train.steps", "1")
        done = fcnn(*TRAIN, *small, "--workdir", name, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        kept.append({path.name for path in (tmp_path / "cache" / "fcnn" / "compiled").rglob("*-cache")})
    assert any("jit_step" in name for name in kept[0])
    assert kept[1] == kept[0]
