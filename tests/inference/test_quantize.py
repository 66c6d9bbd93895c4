"""ONNX files of 8-bit numbers: small, close to the network's answers, and printed with what they cost."""

import json
import shutil

import numpy as np
import onnx
import pytest
from harness import ROOT, random_network

from fcnn import cli
from fcnn.data import Split
from fcnn.inference.onnx.export import to_onnx
from fcnn.inference.onnx.quantize import compare_files, quantize
from fcnn.inference.onnx.run import open_session

RUN = ROOT / "tests/upgrades/0.1.0/run"


@pytest.mark.parametrize("pixels", [False, True])
def test_weights_have_8_bits_and_answers_are_close(pixels):
    network = random_network("lenet5", size=32)
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    data = to_onnx(network, pixels=pixels)
    names = {"images": images if pixels else _normalized(network.info, images)}
    want = open_session(data, "").run(None, names)[0]
    split = Split(images, want.argmax(1).astype(np.int32))
    small = quantize(data, network.info, split, pixels=pixels)
    assert small == quantize(data, network.info, split, pixels=pixels)
    model = onnx.load_from_string(small)
    onnx.checker.check_model(model, full_check=True)
    assert {one.key for one in model.metadata_props} >= {"fcnn", "labels"}
    kernels = [one for one in model.graph.initializer if np.prod(one.dims) >= 150]
    assert {one.data_type for one in kernels} == {onnx.TensorProto.INT8}
    assert max(np.abs(onnx.numpy_helper.to_array(one).astype(int)).max() for one in kernels) <= 64  # 7 bits
    found = open_session(small, "").run(None, names)[0]
    assert 0 < np.abs(found - want).max() < 0.15 * np.abs(want).max()
    assert len(np.unique(found)) == found.size  # not rounded to 256 values
    comparison = compare_files(data, small, network.info, split, pixels=pixels)
    assert comparison["bytes"] == {"float32": len(data), "int8": len(small)}
    assert comparison["bytes"]["int8"] < 0.4 * comparison["bytes"]["float32"]
    assert comparison["top1"] == {"float32": 1.0, "int8": (found.argmax(1) == want.argmax(1)).mean()}
    assert comparison["top1"]["int8"] > 0.8


def _normalized(info, images):
    mean, std = np.array(info.mean, np.float32), np.array(info.std, np.float32)
    return ((images / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)


def test_a_run_s_file_is_compared_and_what_is_no_run_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RUN, "run")
    assert cli.main(["export", "run", "--format", "onnx", "--dtype", "int8"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    certificate = json.loads((tmp_path / "run/model.onnx.json").read_text())
    top1 = certificate["int8"]["top1"]
    assert f"gets {top1['int8']:.2%} of the validation images right instead of {top1['float32']:.2%}." in line
    assert top1["float32"] == pytest.approx(88 / 144)
    assert certificate["dtype"] == "int8"
    assert cli.main(["predict", "run/model.onnx", str(ROOT / "docs/digit.png")]) == 0
    assert capsys.readouterr().out.split()[1] == "3"
    shutil.copy(RUN.parent / "model.safetensors", tmp_path)
    before = sorted(tmp_path.iterdir())
    assert cli.main(["export", "model.safetensors", "--format", "onnx", "--dtype", "int8"]) == 2
    assert "is calibrated on training images, so it takes a run's folder" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
