"""EfficientNet-Lite's published weights: installed with fcnn, with the names of ImageNet's classes, exact."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import fcnn
from fcnn import cli, zoo
from fcnn.config import ModelConfig
from fcnn.inference.predict import read_image
from fcnn.training.pretrained import load_network
from fcnn.utils.errors import UserError
from fcnn.weights import read_network

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# Every hundredth logit, from the 50th on, of the original code (efficientnet_lite_pytorch 0.1.0 on PyTorch 2.13) with
# these weights, for (pixels - 127) / 128 of `image[100 : 100 + size, 200 : 200 + size]` of scikit-learn's photographs.
LOGITS = {
    ("efficientnet_lite0", "china"): (-0.5148, 0.91841, -0.45529, -1.23153, -1.02335, -0.16392, -1.8003, -0.11366,
                                      0.95658, 1.27361),
    ("efficientnet_lite0", "flower"): (-0.17536, -0.8376, -1.43418, 0.22913, -1.5131, -0.49223, -0.79058, 0.86217,
                                       -0.22096, 2.66475),
    ("efficientnet_lite1", "china"): (-0.99652, 0.46201, -1.32953, -0.75222, -1.60697, 0.70274, -1.33846, -1.41511,
                                      0.07681, 0.81234),
    ("efficientnet_lite1", "flower"): (-2.13672, -0.71525, -0.77989, -0.46519, 0.22082, -0.09023, -0.46591, 0.05344,
                                       1.37319, 3.39299),
    ("efficientnet_lite2", "china"): (0.30255, 0.07698, -0.12546, -1.07572, -1.60238, -1.00637, -2.04024, -0.71619,
                                      0.46629, 1.16428),
    ("efficientnet_lite2", "flower"): (-1.17599, -0.76351, -0.99816, -0.91748, -0.80004, -2.08621, -0.47954, -1.08417,
                                       1.19765, 4.08898),
}  # fmt: skip


def installed(name):
    if not zoo.is_here(zoo.TABLE[name]):
        pytest.skip("needs the extra efficientnet-lite")
    return fcnn.load(name)


@pytest.mark.parametrize("name", [LITE[0], *(pytest.param(name, marks=pytest.mark.slow) for name in LITE[1:])])
def test_logits_are_those_of_the_original_code(name):
    network = installed(name)
    size = network.info.image_shape[0]
    for photograph, place in (("china", "palace"), ("flower", "lampshade")):
        image = load_sample_image(f"{photograph}.jpg")[100 : 100 + size, 200 : 200 + size]
        logits = np.asarray(network.apply(network.variables, network.preprocess(image[None])))[0]
        np.testing.assert_allclose(logits[50::100], LOGITS[name, photograph], atol=1e-4)
        assert network.classes[logits.argmax()] == place


def test_a_photograph_is_named_without_a_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FCNN_CACHE", str(tmp_path / "nothing"))
    monkeypatch.setattr("urllib.request.urlopen", None)
    Image.fromarray(load_sample_image("china.jpg")).save(tmp_path / "china.png")
    assert cli.main(["predict", LITE[0], str(tmp_path / "china.png"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["predictions"]
    assert answer["top"][0]["class"] == "palace"
    assert not (tmp_path / "nothing").exists()


def test_photographs_are_read_as_the_publisher_did(tmp_path):
    """224 / (224 + 32) of the largest square's height and width, bicubic; an exported file says so."""
    info = load_network(LITE[0]).info
    image = Image.fromarray(load_sample_image("flower.jpg"))
    image.save(tmp_path / "flower.png")
    side = 427 * 0.875
    box = ((640 - side) / 2, (427 - side) / 2, (640 + side) / 2, (427 + side) / 2)
    expected = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box), np.int32)
    assert np.abs(read_image(tmp_path / "flower.png", info) - expected).max() <= 1
    plain = read_image(tmp_path / "flower.png", dataclasses.replace(info, crop=1.0, interpolation="bilinear"))
    assert np.abs(plain - expected).max() > 50
    assert (info.mean, info.std) == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert cli.main(["export", LITE[0], "--out", str(tmp_path / "own.safetensors")]) == 0
    own = read_network(tmp_path / "own.safetensors")
    assert own.info == info
    np.testing.assert_array_equal(
        own.variables["params"]["head"]["kernel"], load_network(LITE[0]).variables["params"]["head"]["kernel"]
    )


def test_the_packages_names_are_known():
    """Those of efficientnet_pytorch, without the name of the architecture."""
    network = read_network(zoo.obtain(zoo.TABLE[LITE[0]]))
    assert network.info.model == ModelConfig(name=LITE[0])
    assert not network.info.named


def test_imagenets_classes_have_names_of_their_own():
    entries = [entry for entry in zoo.TABLE.values() if entry.source == "ImageNet-1k"]
    assert {entry.classes for entry in entries} == {"imagenet.txt"}
    names = zoo.class_names(entries[0].classes)
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")


def test_a_package_that_is_missing_or_changed_is_said(tmp_path, monkeypatch):
    entry = zoo.TABLE[LITE[0]]
    (tmp_path / "models").mkdir()
    (tmp_path / str(entry.path)).write_bytes(b"other weights")
    spec = importlib.util.find_spec("json")
    assert spec is not None
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(UserError, match="is not the published efficientnet_lite0: its SHA-256 is"):
        zoo.obtain(entry)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "site-packages"))
    assert not zoo.is_here(entry)
    with pytest.raises(UserError, match=r"efficientnet_lite0: .*\.pth is missing, which comes with fcnn"):
        zoo.obtain(entry)
    with pytest.raises(UserError, match=r"efficientnet_lite1 is installed separately: pip install -e '\.\[effic"):
        zoo.obtain(zoo.TABLE[LITE[1]])
