"""Weights as the training scripts of the world leave them: wrapped, prefixed, averaged, headless, under any suffix."""

import dataclasses
import gzip
import io
import json
import tarfile
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from fcnn import models, registry
from fcnn.config import ModelConfig
from fcnn.data import Dataset, Split
from fcnn.training.trainable import start_from
from fcnn.utils.errors import UserError
from fcnn.weights import Network, NetworkInfo, adapt_input, foreign, from_torch, read_network, write_network
from fcnn.weights.files import read_arrays
from fcnn.weights.foreign import fitting
from fcnn.weights.state_dicts import AVERAGED, RAW
from fcnn.weights.torch_names import array_names, torch_shapes

torch = pytest.importorskip("torch")

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.int64)}
RESNET = ModelConfig(name="resnet20")


def tensors(arrays, add=0):
    return {name: torch.from_numpy(np.array(array)) + add for name, array in arrays.items()}


def drawn(name, classes=10):
    """A state_dict of an architecture, no two numbers alike."""
    rng = np.random.default_rng(0)
    shapes = torch_shapes(models.create(name, num_classes=classes))
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("suffix", [".pth.tar", ".CKPT", ".bin", ".PTH", ".safetensors", ".model", ""])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_files_are_read_by_what_is_in_them(suffix, kind, tmp_path):
    path = tmp_path / f"weights{suffix}"
    if kind == "safetensors":
        path.write_bytes(save(ARRAYS))
    else:
        torch.save({"state_dict": tensors(ARRAYS)}, path, _use_new_zipfile_serialization=kind == "zip")
    arrays, _ = read_arrays(path)
    assert {name: array.tolist() for name, array in arrays.items()} == {k: v.tolist() for k, v in ARRAYS.items()}


def archive(*names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in names:
            made.writestr(name, b"x" * 100)
    return out.getvalue()


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        made.addfile(tarfile.TarInfo("weights"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n", "a pointer of Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page, not the weights"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page, not the weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file, as Keras writes"),
        (gzip.compress(b"weights"), "compressed; unpack it first"),
        (tar(), "a tar archive; unpack it first"),
        (
            archive("net/code/__torch__.py", "net/data.pkl", "net/constants.pkl"),
            "a TorchScript archive.*torch.jit.load",
        ),
        (archive("a.npy"), "an archive of NumPy's arrays"),
        (archive("config.json", "model.weights.h5"), "a file of Keras's"),
        (archive("readme.txt"), "a zip archive; unpack it first"),
        (archive("net/data.pkl", "net/data/0")[:-30], "damaged: its end is missing"),
        (b"\x08\x08\x12\x07pytorch\x1a\x062.13.0", "an ONNX model"),
        (json.dumps({"weight_map": {}}).encode(), r"a text file \(JSON\)"),
    ],
    # Names of their own: archives hold the time, and two processes must collect the same tests.
    ids=["lfs", "html", "xml", "hdf5", "gzip", "tar", "torchscript", "npz", "keras", "zip", "cut", "onnx", "json"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
def test_other_files_are_named_as_what_they_are(data, words, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"weights\{suffix} is {words}") as error:
        read_arrays(path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("raw", RAW)
def test_weights_are_found_beside_what_a_script_saves_with_them(raw, tmp_path):
    path = tmp_path / "a.pth"
    beside = {"best_acc1": torch.tensor(76.1), "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    for tree in ({raw: tensors(ARRAYS)} | beside, {"checkpoint": {}, raw: {"state_dict": tensors(ARRAYS)}} | beside):
        torch.save(tree, path)
        assert read_arrays(path)[0].keys() == ARRAYS.keys()


def test_a_score_is_not_the_weights_and_the_top_level_may_be(tmp_path):
    path, lines = tmp_path / "a.pth", []
    torch.save({"best_acc1": torch.tensor(76.1), "encoder": tensors(ARRAYS)}, path)
    assert read_arrays(path, log=lines.append)[0].keys() == ARRAYS.keys()
    assert lines == ["The weights are those in 'encoder'."]
    lines.clear()
    torch.save(tensors(ARRAYS) | {"ema": tensors(ARRAYS, 1), "\x1b[2J\n": 3}, path)
    assert read_arrays(path, log=lines.append)[0]["b"] == 1
    assert lines == ["Averaged weights (EMA), 'ema'; fcnn convert --no-ema reads the raw ones, 'the top level'."]
    lines.clear()
    assert read_arrays(path, ema=False, log=lines.append)[0]["b"] == 0
    assert lines[1] == r"Left out, as no arrays: ema, '\x1b[2J\n'."


@pytest.mark.parametrize("averaged", AVERAGED)
def test_of_averaged_and_raw_weights_it_is_said_which_are_read(averaged, tmp_path):
    path, lines = tmp_path / "a.pth", []
    module = {f"module.{name}": tensor for name, tensor in tensors(ARRAYS, 1).items()}
    torch.save({"state_dict": tensors(ARRAYS), averaged: module | {"n_averaged": torch.tensor(7)}, "epoch": 1}, path)
    arrays, _ = read_arrays(path, log=lines.append)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        f"module.{name}": (array + 1).tolist() for name, array in ARRAYS.items()
    } | {"n_averaged": 7}
    assert lines == [f"Averaged weights (EMA), '{averaged}'; fcnn convert --no-ema reads the raw ones, 'state_dict'."]
    lines.clear()
    arrays, _ = read_arrays(path, ema=False, log=lines.append)
    assert arrays["a.weight"].tolist() == ARRAYS["a.weight"].tolist()
    assert lines == [f"Raw weights, 'state_dict', not the averaged ones (EMA), '{averaged}'."]
    torch.save({averaged: module, "epoch": 1}, path)
    assert read_arrays(path, ema=False)[0].keys() == module.keys()


def test_what_is_no_state_dict_is_a_line(tmp_path):
    path, ones = tmp_path / "a.pth", {"a": torch.ones(1)}
    for tree, words in (
        ({0: torch.ones(1), 1: torch.ones(1)}, r"its arrays have no names but 0, \.\.\.; save model\.state_dict\(\)"),
        ([torch.ones(1)], "holds no state_dict but a list; save"),
        ({"generator": ones, "critic": ones}, "holds no state_dict by itself, but several: generator, critic"),
        ({"a\nb": torch.ones(1)}, r"is damaged: an array is called 'a\\nb'"),
    ):
        torch.save(tree, path)
        with pytest.raises(UserError, match=words) as error:
            read_arrays(path)
        assert len(str(error.value).splitlines()) == 1
    lines = []
    torch.save({"generator": ones | {"n": 3}, "epoch": 2}, path)
    assert read_arrays(path, log=lines.append)[0].keys() == {"a"}
    assert lines == ["The weights are those in 'generator'.", "Left out, as no arrays: n."]


@given(
    prefix=st.sampled_from(["", "model.", "backbone.", "net.", "module.", "_orig_mod.module.", "model.encoder.q."]),
    inside=st.sampled_from([None, "module", "_orig_mod"]),
    wrap_head=st.booleans(),
)
def test_names_are_read_without_what_was_put_before_and_into_them(prefix, inside, wrap_head, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "prefixed.safetensors"
    arrays = drawn("resnet20")

    def renamed(name):
        parts = name.split(".")
        if inside and len(parts) > 2:
            parts.insert(1, inside)
        return ("" if name.startswith("linear") and not wrap_head else prefix) + ".".join(parts)

    save_file({renamed(name): array for name, array in arrays.items()} | {"n_averaged": np.ones(())}, path)
    network = read_network(path, RESNET)
    want = from_torch("resnet20", arrays)
    assert np.array_equal(network.variables["params"]["head"]["kernel"], want["params"]["head"]["kernel"])
    assert len(network.notes) == 1 + (prefix != "" or inside is not None)
    assert all(
        note.startswith("The names of its arrays are read without ") and (inside or "") in note
        for note in network.notes[:-1]
    )


def test_two_networks_in_one_file_are_not_mixed(tmp_path):
    arrays = drawn("resnet20")
    both = arrays | {"model.conv1.weight": arrays["conv1.weight"] + 1}
    save_file(both, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"no place for these weights: model\.conv1\.weight"):
        read_network(tmp_path / "a.safetensors", RESNET)
    both = {f"model.{name}": array for name, array in arrays.items()} | {"conv1.weight": arrays["conv1.weight"] + 1}
    save_file(both, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: "):
        read_network(tmp_path / "a.safetensors", RESNET)


CHEAP = ("linear", "mlp", "shallow_cnn", "lenet5", "alexnet", "alexnet_2012", "vgg11", "vgg13_bn", "squeezenet1_1")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name not in CHEAP else ()) for name in registry.MODELS]
)
def test_an_architecture_is_known_by_its_names_and_shapes(name):
    """Zeros that take no memory; the CIFAR ResNets' plain twins have the same arrays."""
    shapes = torch_shapes(models.create(name, num_classes=models.family(name).classes))
    arrays = {f"model.{key}": np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    twins = {name, name.replace("plain", "resnet"), name.replace("resnet", "plain")}
    assert set(fitting(arrays)) == twins & registry.MODELS.keys()


# Arrays in timm, from its source, one of each kind: in torchvision.
TIMM = {
    "convnext_tiny": {
        "stem.0.weight": "features.0.0.weight", "stem.1.bias": "features.0.1.bias",
        "stages.1.downsample.0.bias": "features.2.0.bias", "stages.3.downsample.1.weight": "features.6.1.weight",
        "stages.2.blocks.8.conv_dw.bias": "features.5.8.block.0.bias", "stages.0.blocks.0.norm.weight":
        "features.1.0.block.2.weight", "stages.0.blocks.2.mlp.fc1.weight": "features.1.2.block.3.weight",
        "stages.0.blocks.2.mlp.fc2.bias": "features.1.2.block.5.bias", "stages.3.blocks.0.gamma":
        "features.7.0.layer_scale", "head.norm.bias": "classifier.0.bias", "head.fc.weight": "classifier.2.weight",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
def test_weights_under_timms_names_are_read(name, tmp_path):
    config = ModelConfig(name=name, width_multiplier=0.125)
    model = models.from_config(config, num_classes=3)
    (_, names), shapes = array_names(model), torch_shapes(model)
    assert TIMM[name].items() <= names.items()
    assert names.keys().isdisjoint(shapes)
    rng = np.random.default_rng(0)
    arrays = {reference: rng.random(shape, np.float32) for reference, shape in shapes.items()}
    # timm's layer scales have no axes for the image.
    timms = {timm: np.ravel(arrays[ref]) if timm.endswith("gamma") else arrays[ref] for timm, ref in names.items()}
    save_file(timms, tmp_path / "timm.safetensors")
    save_file(arrays, tmp_path / "reference.safetensors")
    a, b = (read_network(tmp_path / f"{kind}.safetensors", config) for kind in ("timm", "reference"))
    assert jax.tree.all(jax.tree.map(np.array_equal, a.variables, b.variables))


def test_a_network_whose_dense_layers_are_convolutions_is_known_by_timms_names():
    """VGG with batch norm, whose numbered layers are others in VGG without."""
    model = models.create("vgg11_bn", num_classes=10)
    (_, names), shapes = array_names(model), torch_shapes(model)
    arrays = {timm: np.zeros(shapes[reference], np.float32) for timm, reference in names.items()}
    arrays["pre_logits.fc1.weight"] = arrays["pre_logits.fc1.weight"].reshape(4096, 512, 7, 7)
    arrays["pre_logits.fc2.weight"] = arrays["pre_logits.fc2.weight"].reshape(4096, 4096, 1, 1)
    assert fitting(arrays) == ["vgg11_bn"]


def test_options_of_training_are_no_property_of_weights(tmp_path):
    config = ModelConfig(name="convnext_atto", width_multiplier=0.1)
    shapes = torch_shapes(models.from_config(config, num_classes=2))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    info = NetworkInfo(model=config, classes=("a", "b"), image_shape=(64, 64, 3), mean=(0.5,) * 3, std=(0.5,) * 3)
    network = Network(info=info, variables=from_torch("convnext_atto", arrays, width_multiplier=0.1))
    write_network(tmp_path / "a.safetensors", network)
    other = dataclasses.replace(config, options={"stochastic_depth": 0.3, "layer_scale": 0.1})
    assert read_network(tmp_path / "a.safetensors", other).info == info
    with pytest.raises(UserError, match=r"model.norm None, not batch"):
        read_network(tmp_path / "a.safetensors", dataclasses.replace(other, norm="batch"))


def test_much_deeper_networks_are_not_traced(monkeypatch):
    traced = []
    monkeypatch.setattr(foreign, "torch_shapes", lambda model: traced.append(model) or torch_shapes(model))
    assert set(fitting(drawn("resnet20"))) == {"resnet20", "plain20"}
    assert max(sum(model.stage_sizes) for model in traced) <= 54


def test_weights_of_another_depth_are_said_to_be_of_it(tmp_path):
    save_file(drawn("resnet32"), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"these weights fit resnet32 or plain32, not resnet44$"):
        read_network(tmp_path / "a.safetensors", ModelConfig(name="resnet44"))
    with pytest.raises(UserError, match=r"fits resnet32 and plain32: choose one with --model NAME"):
        read_network(tmp_path / "a.safetensors", None)
    save_file(drawn("squeezenet1_1", 3), tmp_path / "a.safetensors")
    network = read_network(tmp_path / "a.safetensors", None)
    assert network.info.model.name == "squeezenet1_1"
    assert network.notes[0] == "By its names and shapes it is squeezenet1_1."
    save_file({"encoder.weight": np.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"doesn't say which network it is of: choose one with --model NAME"):
        read_network(tmp_path / "a.safetensors", None)


def test_quantized_weights_are_named(tmp_path):
    arrays = drawn("resnet20")
    save_file(arrays | {"conv1.weight": np.ones((16, 3, 3, 3), np.int8)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"conv1\.weight has whole numbers, as quantized networks have"):
        read_network(tmp_path / "a.safetensors", RESNET)


@pytest.mark.parametrize("head", [None, "linear.1"])
def test_a_backbone_may_start_a_run_and_nothing_else(head, tmp_path):
    path, arrays = tmp_path / "a.safetensors", drawn("resnet20")
    body = {name: array for name, array in arrays.items() if not name.startswith("linear")}
    other = {} if head is None else {f"{head}.weight": np.ones((4, 64), np.float32), f"{head}.bias": np.ones(4)}
    save_file(body | other, path)
    with pytest.raises(UserError, match=r"holds resnet20 without its head.*fcnn train --transfer\.weights"):
        read_network(path, RESNET)
    network = read_network(path, RESNET, head=False)
    assert network.info.classes == ()
    fresh = from_torch("resnet20", drawn("resnet20", 2))
    variables, message = start_from(network, ("cat", "dog"), fresh, "full", seed=0)
    assert message == "The head is new: the weights have none."
    assert np.array_equal(variables["params"]["head"]["kernel"], fresh["params"]["head"]["kernel"])
    want = from_torch("resnet20", arrays)["params"]["stem_conv"]["kernel"]
    assert np.array_equal(variables["params"]["stem_conv"]["kernel"], want)
    with pytest.raises(UserError, match="pretrained: the weights have no head"):
        start_from(network, ("cat", "dog"), fresh, "pretrained", seed=0)
    save_file({name: array for name, array in body.items() if not name.startswith("layer3")}, path)
    with pytest.raises(UserError, match=r"no weights of resnet20: they have no 'linear\.weight'"):
        read_network(path, RESNET, head=False)


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (1, 4), (3, 6), (4, 1)])
def test_a_kernel_for_other_channels_gives_the_same_for_equal_channels(before, after):
    """As PyTorch convolves."""
    rng = np.random.default_rng(0)
    kernel, gray = rng.normal(size=(3, 3, before, 5)), rng.normal(size=(2, 1, 8, 8))
    adapted = adapt_input(kernel, after)

    def convolved(kernel):
        images = np.broadcast_to(gray, (2, kernel.shape[2], 8, 8))
        return torch.conv2d(torch.tensor(images), torch.tensor(kernel.transpose(3, 2, 0, 1)))

    assert adapted is not None
    assert adapted.shape == (3, 3, after, 5)
    # Summing keeps all that gray images meet; repeating keeps the mean of the channels.
    np.testing.assert_allclose(convolved(adapted), convolved(kernel), rtol=1e-6, atol=1e-6)


def test_weights_for_other_channels_are_adapted_and_that_is_said(tmp_path):
    arrays = drawn("resnet20")
    arrays["conv1.weight"] = arrays["conv1.weight"].sum(1, keepdims=True)
    save_file(arrays, tmp_path / "a.safetensors")
    network = read_network(tmp_path / "a.safetensors", RESNET)
    assert network.info.image_shape == (32, 32, 1)
    assert network.info.mean == (0.5,)
    assert network.notes[0] == "It is for images of 1 channel, not 3."
    fresh = from_torch("resnet20", drawn("resnet20"))
    variables, message = start_from(network, tuple("abcdefghij"), fresh, "full", seed=0)
    kernel = np.asarray(variables["params"]["stem_conv"]["kernel"])
    np.testing.assert_allclose(kernel.sum(2), network.variables["params"]["stem_conv"]["kernel"][:, :, 0], rtol=1e-5)
    assert message.startswith(
        "The first convolution has 3 input channels instead of 1: its kernel is repeated and multiplied by 1/3. "
    )


def test_a_gray_networks_normalization_holds_for_each_color():
    images, labels = np.zeros((3, 4, 4, 3), np.uint8), np.zeros(3, np.int32)
    split = Split(images, labels)
    dataset = Dataset(name="colors", classes=("a", "b"), train=split, validation=split, test=split)
    mean, std = dataset.normalized_by((0.5,), (0.25,)).mean_std()
    assert (mean.tolist(), std.tolist()) == ([0.5] * 3, [0.25] * 3)
    with pytest.raises(UserError, match="the weights are for images of 4 channels, the images have 3"):
        dataset.normalized_by((0.5,) * 4, (0.5,) * 4)


UNSAID = (
    "Its names don't say with which epsilon and padding it was trained: epsilon 0.001, padding {} assumed; "
    "fcnn convert --model {} --options.epsilon takes another."
)
UNPREPARED = (
    "It doesn't say how images are prepared; assumed: 224 x 224 pixels, mean {}, 100 % of a photograph's height and "
    "width, bilinear resizing."
)
MEAN_STD = {
    "mobilenet_v3_small": "0.485 0.456 0.406, standard deviation 0.229 0.224 0.225",
    "efficientnet_lite0": "0.498 0.498 0.498, standard deviation 0.502 0.502 0.502",  # 127 and 128, as in TensorFlow
}


@pytest.mark.parametrize(
    ("name", "naming", "options", "padding"),
    [
        ("mobilenet_v3_small", 0, {}, None),
        ("mobilenet_v3_small", 1, {}, "torch"),
        ("mobilenet_v3_small", 1, {"epsilon": 1e-5, "padding": "SAME"}, None),
        ("efficientnet_lite0", 0, {}, "SAME"),
    ],
)
def test_what_timms_names_do_not_say_is_assumed_aloud(name, naming, options, padding, tmp_path):
    """timm has these with two epsilons and two paddings under the same names; torchvision has one of each, and no
    EfficientNet-Lite."""
    model = models.create(name, num_classes=3)
    rng = np.random.default_rng(0)
    names = array_names(model)[naming]
    shapes = torch_shapes(model)
    arrays = {theirs: rng.random(shapes[reference], np.float32) for theirs, reference in names.items()}
    save_file(arrays, tmp_path / "file.safetensors")
    network = read_network(tmp_path / "file.safetensors", ModelConfig(name=name, options=options))
    unsaid = () if padding is None else (UNSAID.format(padding, name),)
    assert network.notes == (*unsaid, UNPREPARED.format(MEAN_STD[name]))
    assert network.info.model.options == options
