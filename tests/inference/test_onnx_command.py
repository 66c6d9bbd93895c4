"""`fcnn export --format onnx`, its certificate, and `fcnn predict` and `fcnn evaluate` of the file."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
from harness import random_network
from PIL import Image

from fcnn import cli, models
from fcnn.calibration import Calibration
from fcnn.data.parallel import no_progress
from fcnn.inference.onnx.certificate import certify
from fcnn.inference.onnx.export import to_onnx
from fcnn.utils.errors import UserError
from fcnn.weights import write_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, photographs of its classes, and the network as ONNX."""
    folder = tmp_path_factory.mktemp("onnx")
    rng = np.random.default_rng(0)
    for name in "ab":
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    write_network(folder / "net.safetensors", random_network("lenet5", classes=2, width_multiplier=0.5))
    return folder


def run(capsys, *args):
    code = cli.main([*map(str, args)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize("pixels", [False, True])
def test_the_file_answers_as_the_network_and_says_how_nearly(folder, pixels, capsys):
    file = folder / f"net{pixels}.onnx"
    code, out, _ = run(
        capsys, "export", folder / "net.safetensors", "--format", "onnx", "--out", file, *["--pixels"] * pixels
    )
    assert code == 0
    assert "same top-1 on 64 of 64 images (random patterns)" in out
    certificate = json.loads((folder / f"net{pixels}.onnx.json").read_text())
    assert certificate["engines"]["onnxruntime"]["difference"] < 1e-5
    assert (certificate["pixels"], certificate["images"]["count"]) == (pixels, 64)
    for command in (["predict", folder / "photos", "--json"], ["evaluate", "--data.name", f"folder:{folder}/photos"]):
        answers = [run(capsys, command[0], name, *command[1:]) for name in (folder / "net.safetensors", file)]
        assert answers[0][0] == answers[1][0] == 0
        if "--json" in command:
            first, second = (json.loads(out)["predictions"] for _, out, _ in answers)
            for one, other in zip(first, second, strict=True):
                assert one["class"] == other["class"]
                p, q = ({entry["class"]: entry["probability"] for entry in each["top"]} for each in (one, other))
                assert p == pytest.approx(q, abs=1e-5)
        else:
            assert answers[0][1] == answers[1][1]


def test_another_networks_file_is_not_certified():
    one, other = (random_network("lenet5", classes=classes, width_multiplier=0.5) for classes in (3, 3))
    kernel = other.variables["params"]["head"]["kernel"]
    kernel[:] = kernel * 1.01
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    certify(one, to_onnx(one), images, "", no_progress, pixels=False, dtype="float32")
    with pytest.raises(UserError, match="not written: onnxruntime's answers differ"):
        certify(one, to_onnx(other), images, "", no_progress, pixels=False, dtype="float32")


def test_the_second_output_is_certified_too():
    network = random_network("lenet5", width_multiplier=0.5)
    place = models.endpoints(network.create(), (32, 32, 3))[-1]
    calibrated = Calibration(images=200).with_means(np.ones((4, place.shape[-1])), 0.2, place.name)
    network = dataclasses.replace(network, info=dataclasses.replace(network.info, calibration=calibrated))
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    model = onnx.load_from_string(to_onnx(network))
    certify(network, model.SerializeToString(), images, "", no_progress, pixels=False, dtype="float32")
    last = next(node for node in model.graph.node if "features" in node.output)
    last.output[0] = "exact"
    model.graph.node.append(onnx.helper.make_node("Add", ["exact", "exact"], ["features"]))
    with pytest.raises(UserError, match="not written: onnxruntime's answers differ"):
        certify(network, model.SerializeToString(), images, "", no_progress, pixels=False, dtype="float32")


def test_what_is_no_file_of_ours_is_refused_in_a_line(folder, capsys):
    data = to_onnx(random_network("lenet5", classes=2, width_multiplier=0.5))
    outside = onnx.load_from_string(data)
    entry = outside.graph.initializer[0]
    entry.ClearField("raw_data")
    entry.data_location = onnx.TensorProto.EXTERNAL
    entry.external_data.add(key="location", value="/etc/passwd")
    nameless, other = onnx.load_from_string(data), onnx.load_from_string(data)
    del nameless.metadata_props[:]
    other.metadata_props[0].value = other.metadata_props[0].value.replace('"pixels": false', '"pixels": true')
    endless = onnx.load_from_string(data)
    endless.graph.node.add(op_type="Loop", output=["x"]).attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    large = onnx.load_from_string(data)
    large.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2**20, 2**20]), "sizes"))
    large.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["sizes"], ["large"]))
    expected = {
        b"": "is damaged, no ONNX file",
        data[: len(data) // 2]: "is damaged, no ONNX file",
        outside.SerializeToString(): "keeps its weights in other files",
        endless.SerializeToString(): "has loops or branches",
        large.SerializeToString(): "makes large far larger than the images",
        nameless.SerializeToString(): "no labels and preprocessing",
        other.SerializeToString(): "don't describe the network",
    }
    for content, reason in expected.items():
        (folder / "other.onnx").write_bytes(content)
        code, _, err = run(capsys, "predict", folder / "other.onnx", folder / "photos")
        assert code == 2
        assert reason in err
        assert len(err.splitlines()) <= 2


def test_options_of_other_formats_are_refused(folder, capsys):
    for args in (["--pixels"], ["--format", "html", "--dtype", "float16"], ["--format", "onnx", "--runtime", "x"]):
        code, _, err = run(capsys, "export", folder / "net.safetensors", *args, "--out", folder / "x.safetensors")
        assert code == 2
        assert "has no effect with" in err or "must end in" in err
