"""What earlier versions wrote is read by this one: runs, checkpoints, configs, weights (`tests/upgrades`)."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from jax import export as jax_export

import fcnn
from fcnn import cli
from fcnn.inference.export import read_stablehlo
from fcnn.inference.predict import load_classifier
from fcnn.report import read_records
from fcnn.training.workdir import read_config
from fcnn.utils.errors import UserError

UPGRADES = Path(__file__).parent / "upgrades"
VERSIONS = sorted(path for path in UPGRADES.iterdir() if path.is_dir())


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def written(request, tmp_path):
    """A copy of what one version wrote."""
    return Path(shutil.copytree(request.param, tmp_path / "written"))


def test_a_run_evaluates_as_it_did(written, capsys):
    before = json.loads((written / "evaluate.json").read_text())
    assert cli.main(["evaluate", str(written / "run"), "--json"]) == 0
    now = json.loads(capsys.readouterr().out)
    assert now.keys() >= before.keys()
    assert (now["step"], now["weights"], now["count"]) == (before["step"], before["weights"], before["count"])
    assert now["top1"] == pytest.approx(before["top1"], abs=1.5 / now["count"])
    assert now["loss"] == pytest.approx(before["loss"], rel=1e-4)
    assert now["calibration"].keys() >= before["calibration"].keys()


def test_a_run_and_its_exported_weights_predict_the_same(written):
    run, file = fcnn.load(written / "run"), fcnn.load(written / "model.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (8, *run.info.image_shape), np.uint8)
    assert run.classes == file.classes
    assert run.info.calibration.temperature != 1
    np.testing.assert_array_equal(run.predict(images), file.predict(images))


def test_a_program_of_an_older_jax_gives_its_logits_or_says_what_to_do(written):
    path, by = written / "model.stablehlo", json.loads((written / "model.stablehlo.json").read_text())["written_by"]
    try:
        jax_export.deserialize(bytearray(path.read_bytes()))
    except Exception:  # some day, past its promise, JAX won't read it
        with pytest.raises(UserError, match=rf"doesn't read what JAX {by['jax']} wrote: export it again"):
            read_stablehlo(path)
        return
    _, classify = load_classifier(str(path))
    logits = classify(np.load(written / "images.npy")).logits
    np.testing.assert_allclose(logits, np.load(written / "logits.npy"), rtol=1e-5, atol=1e-5)


def test_a_run_goes_on(written):
    before, config = read_records(written / "run"), read_config(written / "run")
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=3))
    metrics = fcnn.train(longer, workdir=written / "run")
    records = read_records(written / "run")
    assert metrics["count"] == 360
    epochs = [r["epoch"] for r in records if (r["kind"], r["split"]) == ("epoch", "train")]
    assert epochs == [1, 2, 3]
    assert [r for r in records if r["step"] <= 40 and r["kind"] != "test"] == [r for r in before if r["kind"] != "test"]


@pytest.mark.parametrize(
    "name", ["run/config.json", "run/data.json", "run/calibration.json", "run/checkpoints/40/meta/metadata"]
)
def test_the_version_is_in_each_file(written, name):
    assert json.loads((written / name).read_text())["fcnn_version"] == VERSIONS[0].name


def test_a_file_of_a_later_version_says_so(tmp_path, capsys):
    run = shutil.copytree(VERSIONS[-1] / "run", tmp_path / "run")
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(values | {"fcnn_version": "9.0.1", "quantum": {"qubits": 3}}))
    assert cli.main(["evaluate", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith(f"; fcnn 9.0.1 wrote it and this is {fcnn.__version__}: upgrade fcnn\n")
