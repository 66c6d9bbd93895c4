"""`transfer.compare`: a second run on the same images and as long, in its own folder; and a table, whoever wins."""

import json
import re

import pytest
from harness import ROOT, random_network

from fcnn import cli
from fcnn.cli.results import log_comparison
from fcnn.config import Config, TransferConfig
from fcnn.config.serialize import differences, from_json
from fcnn.report import Console
from fcnn.weights import write_network

PRESET = """
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig, TransferConfig
CONFIG = Config(
    data=DataConfig(num_train=100),
    model=ModelConfig(name="mlp", width_multiplier=0.1),
    train=TrainConfig(steps=4, batch_size=20),
    transfer=TransferConfig(weights="mlp.safetensors", strategy="full", compare="scratch"),
)
"""


@pytest.mark.slow
def test_two_runs_that_differ_in_the_strategy_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path / "mlp.safetensors", random_network("mlp", size=8, width_multiplier=0.1))
    (tmp_path / "small.py").write_text(PRESET)
    assert cli.main(["train", "--config", "small.py", "--workdir", "run", "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found["compared"]["strategy"] == "scratch"
    assert found["step"] == found["compared"]["step"] == 4
    for one, name in ((found, "full, from mlp.safetensors"), (found["compared"], "scratch")):
        hits = round(one["top1"] * 360)
        assert re.search(rf"\n{name} +{100 * one['top1']:.2f} % .* {hits} of 360\n", output.err)
    configs = [from_json((tmp_path / run / "config.json").read_text(), "") for run in ("run", "run/scratch")]
    assert differences(*configs) == ["transfer.strategy: full -> scratch"]
    # Again, it goes on where it stands: both are finished.
    assert cli.main(["train", "--config", "small.py", "--workdir", "run"]) == 0
    assert capsys.readouterr().out.count("is finished.") == 2


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (0.9, 0.8, "full, from file is better by 10.00 points"),
        (0.8, 0.9, "scratch is better by 10.00 points"),
        (0.5, 0.5, "A draw"),
    ],
)
def test_whichever_wins(capsys, ours, theirs, verdict):
    config = Config(transfer=TransferConfig(weights="file", compare="scratch"))
    records = [{"top1": top1, "count": 10, "interval": (0.0, 1.0), "step": 7} for top1 in (ours, theirs)]
    log_comparison(config, records[0], records[1], Console())
    assert capsys.readouterr().out.splitlines()[-1] == f"{verdict}: the same images and seed, 7 and 7 steps."


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match=r"unknown transfer\.compare 'full'"):
        TransferConfig(weights="file", compare="full")
    with pytest.raises(ValueError, match=r"transfer\.compare has no effect without transfer\.weights"):
        TransferConfig(compare="scratch")


@pytest.mark.slow
def test_the_preset(tmp_path, fcnn):
    """Offline: the network is part of the package, the digits ship inside scikit-learn."""
    found = fcnn(
        "--config", "transfer", "--workdir", str(tmp_path / "run"), program=str(ROOT / "train.py"), cwd=tmp_path
    )
    assert found.returncode == 0, found.stderr
    assert re.search(r"\nfull, from cifar10_resnet20 +[\d.]+ %", found.stdout)
    assert re.search(r"is better by [\d.]+ points: the same images and seed, (\d+) and \1 steps\.\n$", found.stdout)
