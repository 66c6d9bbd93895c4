"""Exported programs: the same logits as the network's, batch norm gone, run by a process that has no fcnn."""

import dataclasses
import datetime
import json
import subprocess
import sys

import jax
import jaxlib.version
import numpy as np
import pytest
from harness import MEAN, ROOT, STD
from harness import random_network as network
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export as jax_export
from PIL import Image

from fcnn import cli, models
from fcnn.config import ModelConfig
from fcnn.inference.export import read_stablehlo, to_stablehlo, write_stablehlo
from fcnn.inference.guarantee import reading_guarantee
from fcnn.inference.predict import fitted, resize_rule
from fcnn.training.pretrained import load_network
from fcnn.utils.errors import UserError
from fcnn.weights import NetworkInfo, write_network


def logits(given, images):
    normalized = ((images / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32)
    model = given.info.create()
    return normalized, np.asarray(jax.jit(lambda x: model.apply(given.variables, x, train=False))(normalized))


# The norms that stay behind what is no convolution: none, or those of the blocks that begin with one.
@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"name": "lenet5", "norm": "batch", "activation": "gelu"}, False),
        ({"name": "mlp", "norm": "batch", "size": 8}, False),
        ({"name": "lenet5", "norm": "group", "width_multiplier": 0.5}, True),
        pytest.param({"name": "lenet5"}, False, marks=pytest.mark.slow),
        pytest.param({"name": "resnet20", "width_multiplier": 0.25}, False, marks=pytest.mark.slow),
        pytest.param(
            {"name": "vgg11_bn", "width_multiplier": 0.1}, False, marks=pytest.mark.slow
        ),  # convolutions with a bias
        pytest.param(
            {"name": "plain20", "activation": "gelu", "width_multiplier": 0.25}, False, marks=pytest.mark.slow
        ),
        pytest.param({"name": "resnet20", "norm": "group", "width_multiplier": 0.5}, True, marks=pytest.mark.slow),
        pytest.param({"name": "preact_resnet110", "width_multiplier": 0.25}, True, marks=pytest.mark.slow),
        pytest.param({"name": "googlenet", "size": 64, "width_multiplier": 0.1}, False, marks=pytest.mark.slow),
        pytest.param({"name": "inception_v2", "size": 64, "width_multiplier": 0.1}, False, marks=pytest.mark.slow),
        pytest.param({"name": "resnet50", "size": 64, "width_multiplier": 0.1}, False, marks=pytest.mark.slow),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_the_program_gives_the_networks_logits_for_any_number_of_images(fields, left):
    given = network(**fields)
    program = jax_export.deserialize(bytearray(to_stablehlo(given)))
    assert program.platforms == ("cpu", "cuda", "tpu")
    size = given.info.image_shape[0]
    for count in (1, 3):
        images = np.random.default_rng(count).integers(0, 256, (count, size, size, 3)).astype(np.uint8)
        normalized, want = logits(given, images)
        found = np.asarray(program.call(normalized))
        assert found.dtype == np.float32
        assert np.abs(found - want).max() < 2e-5 * np.abs(want).max()
    # Nothing divides by a standard deviation any more.
    assert ("rsqrt" in program.mlir_module()) == left


@pytest.mark.parametrize("channels", [pytest.param(3, marks=pytest.mark.slow), 1])
def test_a_process_without_fcnn_runs_it(channels, tmp_path):
    given = network("lenet5", norm="batch", width_multiplier=0.25, channels=channels)
    path = tmp_path / "model.stablehlo"
    write_stablehlo(path, given, pixels=True)
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, channels)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import jax, numpy, pathlib, sys\n"
        "program = jax.export.deserialize(bytearray(pathlib.Path('model.stablehlo').read_bytes()))\n"
        "numpy.save('logits.npy', program.call(numpy.load('images.npy')))\n"
        "assert not any(name.split('.')[0] in ('fcnn', 'flax') for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program.replace("import jax,", "import jax, jax.export,")],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, want = logits(given, images)
    assert np.abs(np.load(tmp_path / "logits.npy") - want).max() < 2e-5 * np.abs(want).max()
    told = json.loads((tmp_path / "model.stablehlo.json").read_text())
    assert told["pixels"] is True
    assert told["about"]["classes"] == list("abcd")
    assert told["about"]["mean"] == list(MEAN)


def test_what_is_no_export_is_told(tmp_path):
    path = tmp_path / "model.stablehlo"
    with pytest.raises(UserError, match=r"there is no file .*model\.stablehlo$"):
        read_stablehlo(path)
    write_stablehlo(path, network("linear", size=4))
    beside = tmp_path / "model.stablehlo.json"
    good, whole = beside.read_text(), path.read_bytes()
    assert str(ROOT).encode() not in whole
    for text in ("", "[]", "{}", '{"about": {}, "pixels": true}', "[" * 100_000):
        beside.write_text(text)
        with pytest.raises(UserError, match=r"model\.stablehlo\.json: "):
            read_stablehlo(path)
    for change in ({"pixels": True}, {"about": json.loads(good)["about"] | {"image_shape": [5, 4, 3]}}):
        beside.write_text(json.dumps(json.loads(good) | change))
        with pytest.raises(UserError, match=r"json doesn't describe .*, which takes float32\[batch,4,4,3\]"):
            read_stablehlo(path)
    beside.write_text(good)
    for data in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(UserError, match="is damaged or no exported program"):
            read_stablehlo(path)
    beside.write_text(json.dumps(json.loads(good) | {"written_by": {"jax": "0.4.9"}}))
    with pytest.raises(UserError, match=rf"JAX {jax.__version__} doesn't read what JAX 0\.4\.9 wrote: export it again"):
        read_stablehlo(path)
    values = json.loads(good)
    values.pop("written_by")  # as fcnn wrote before it said so
    beside.write_text(json.dumps(values))
    path.write_bytes(whole)
    assert read_stablehlo(path)[1] == network("linear", size=4).info
    beside.unlink()
    with pytest.raises(UserError, match=r"there is no file .*model\.stablehlo\.json$"):
        read_stablehlo(path)


def test_the_command_writes_both_kinds_and_says_what_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = network("linear", size=4)
    write_network(tmp_path / "mine.safetensors", given)
    assert cli.main(["export", "mine.safetensors", "--format", "stablehlo"]) == 0
    written = json.loads((tmp_path / "mine.stablehlo.json").read_text())["written_by"]
    assert (written["jax"], written["jaxlib"]) == (jax.__version__, jaxlib.version.__version__)
    assert capsys.readouterr().out == (
        "mine.stablehlo, with mine.stablehlo.json beside it: linear, 4 classes, images of 4 x 4 x 3, mean 0.4 0.5 0.6, "
        f"standard deviation 0.2 0.25 0.3\nJAX {written['jax']} with jaxlib {written['jaxlib']} can always read it; "
        "jax.export promises the same of jaxlib releases up to 6 months newer, so of none after "
        f"{written['no_promise_after']}.\n"
    )
    assert cli.main(["export", "mine.safetensors", "--out", "other.safetensors"]) == 0
    assert load_network("other.safetensors").info == given.info
    assert (tmp_path / "other.safetensors").read_bytes() == (tmp_path / "mine.safetensors").read_bytes()
    before = sorted(tmp_path.iterdir())
    for arguments, words in (
        (["mine.safetensors"], "would be overwritten"),
        (["mine.safetensors", "--out", "a.onnx"], "--out a.onnx must end in .safetensors"),
        (["mine.safetensors", "--out", "a.safetensors", "--pixels"], "--pixels has no effect with safetensors"),
        (["nowhere.safetensors", "--format", "stablehlo"], "there is no file nowhere.safetensors"),
        (["mine.safetensors", "--format", "onyx"], "--format must be one of html, onnx, safetensors, stablehlo"),
    ):
        assert cli.main(["export", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("today", "end"),
    [
        ("2026-11-28", "2027-05-28"),
        ("2026-08-31", "2027-02-28"),
        ("2027-08-31", "2028-02-29"),
        ("2026-06-30", "2026-12-30"),
    ],
)
def test_the_promise_of_reading_ends_six_months_later(today, end):
    guarantee = reading_guarantee(datetime.date.fromisoformat(today))
    assert (guarantee["date"], guarantee["no_promise_after"]) == (today, end)


@given(
    st.tuples(*[st.integers(1, 90)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.floats(0.5, 1),
    st.sampled_from(["bilinear", "bicubic"]), st.sampled_from([1, 3]),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_the_rule_by_which_images_are_resized_is_what_is_done(photo, size, crop, interpolation, channels):
    info = dataclasses.replace(
        network("linear", size=4).info, image_shape=(*size, channels), crop=crop, interpolation=interpolation
    )
    pixels = np.random.default_rng(0).integers(0, 256, (*photo, 3), np.uint8)
    rule = json.loads(json.dumps(resize_rule(info)))

    image, out = Image.fromarray(pixels).convert(rule["mode"]), (rule["width"], rule["height"])
    scale = rule["crop"] * min(image.width / out[0], image.height / out[1])
    x, y = (side / 2 for side in image.size)
    box = (x - scale * out[0] / 2, y - scale * out[1] / 2, x + scale * out[0] / 2, y + scale * out[1] / 2)
    want = image.resize(out, Image.Resampling[rule["interpolation"].upper()], box)
    difference = np.asarray(want, int).reshape(*size, channels) - fitted(Image.fromarray(pixels), info)
    assert np.abs(difference).max() <= 1  # the box is known to the last bit or so


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("resnet18", 64), ("resnet50", 64), ("vgg16_bn", 64), ("alexnet", 127), ("squeezenet1_0", 64)),
        *(("googlenet", 96), ("inception_v3", 299)),
    ],
)
def test_torchvisions_networks_come_in_and_go_out(name, size, tmp_path):
    """Their weights through our files, both ways, to the last bit; and both networks' logits."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    from safetensors.torch import load_file, save_file

    draw = torch.Generator().manual_seed(0)
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    theirs = torchvision.models.get_model(name, weights=None, num_classes=7, **options).eval()
    for key, values in theirs.state_dict().items():
        if key.endswith("running_var"):
            values.copy_(torch.rand(values.shape, generator=draw) + 0.5)
        elif key.endswith(("running_mean", "bias")):
            values.copy_(torch.randn(values.shape, generator=draw) * 0.1)
    given = theirs.state_dict()
    save_file(given, tmp_path / "theirs.safetensors")

    network = load_network(str(tmp_path / "theirs.safetensors"), ModelConfig(name=name))
    write_network(tmp_path / "ours.safetensors", network)
    found = load_file(tmp_path / "ours.safetensors")
    assert found.keys() == given.keys()
    assert all(torch.equal(found[key], given[key]) for key in given)

    images = torch.randn((2, 3, size, size), generator=draw)
    with torch.no_grad():
        want = theirs(images).numpy()
    model, inputs = network.info.create(), images.numpy().transpose(0, 2, 3, 1)
    ours = np.asarray(jax.jit(lambda x: model.apply(network.variables, x, train=False))(inputs))
    assert np.abs(ours - want).max() < 1e-4 * np.abs(want).max()


def test_every_model_keeps_its_place(tmp_path):
    """What a file says of a network makes the same network again."""
    info = network("resnet20", width_multiplier=0.5).info
    changed = dataclasses.replace(info, model=dataclasses.replace(info.model, options={"shortcut": "projection"}))
    again = NetworkInfo.from_json(json.dumps(changed.to_dict()), "here")
    assert again == changed
    assert isinstance(again.create(), models.Classifier)
