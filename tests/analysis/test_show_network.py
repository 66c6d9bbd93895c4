"""`fcnn show`: what it computes, against a second way to compute it, and what it leaves behind."""

import csv
import dataclasses
import json
import shutil
from typing import Any

import jax
import numpy as np
import pytest
from harness import random_network, random_variables, relative_error, unread
from html_page import check_stands_alone
from PIL import Image

from fcnn import cli, models
from fcnn.analysis.show.grad_cam import grad_cam
from fcnn.analysis.show.input import make_input
from fcnn.analysis.show.neighbors import nearest
from fcnn.analysis.show.receptive_field import box, views
from fcnn.config import Config, ModelConfig
from fcnn.data import load
from fcnn.distributed import sharding
from fcnn.training import run_data
from fcnn.training.setup import make_setup

NAMES = ("prediction", "filters", "activations", "grad_cam", "receptive_field", "neighbors", "confusion", "mistakes")
SPATIAL = ("activations", "grad_cam", "receptive_field")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run of a small CNN, one of a linear classifier, and one like that without validation."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in (
        ("cnn", ["--model.name", "shallow_cnn", "--model.width-multiplier", "0.25", "--train.ema-decay", "0.9"]),
        ("linear", ["--model.name", "linear"]),
    ):
        command = ["train", "--config", "resnet", "--train.epochs", "1", *options, "--workdir", str(folder / name)]
        assert cli.main(command) == 0
    shutil.copytree(folder / "linear", folder / "all")
    facts = json.loads((folder / "all/data.json").read_text())
    facts["images"] |= {"validation": [0] * 10}
    (folder / "all/data.json").write_text(json.dumps(facts))
    return folder


def test_it_draws_everything_and_leaves_the_test_split_unread(runs, monkeypatch, capsys):
    monkeypatch.setattr(run_data, "load", unread(run_data.load))
    assert cli.main(["show", str(runs / "cnn")]) == 0
    folder = runs / "cnn/show"
    assert {path.name for path in folder.iterdir()} == {
        "show.html",
        *(f"{n}.{e}" for n in NAMES for e in ("png", "csv")),
    }
    for name in NAMES:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 100
    numbers = {name: list(csv.DictReader((folder / f"{name}.csv").read_text().splitlines())) for name in NAMES}
    assert len(numbers["prediction"]) == 5
    assert sum(int(row[str(k)]) for row in numbers["confusion"] for k in range(10)) == 144
    wrong = 144 - sum(int(row[row["label"]]) for row in numbers["confusion"])
    assert len(numbers["mistakes"]) == min(wrong, 24)
    assert len(numbers["filters"]) == 8 * 3 * 3
    assert {row["layer"] for row in numbers["activations"]} == {"stage1", "stage2", "hidden"}
    assert {(row["y"], row["x"]) for row in numbers["grad_cam"]} == {(y, x) for y in "01" for x in "01"}
    seen = check_stands_alone((folder / "show.html").read_bytes())
    assert sum(tag == "img" for tag, _ in seen.tags) == len(NAMES)
    out = capsys.readouterr().out
    assert "validation image 0, of class" in out
    assert "weights of step 20" in out
    with pytest.raises(AssertionError, match="test split was read"):
        cli.main(["show", str(runs / "cnn"), "--split", "test"])


def test_what_does_not_apply_is_said_and_what_is_out_of_date_goes(runs, tmp_path, capsys):
    Image.fromarray(load(Config().data).test.images[0, :, :, 0]).save(tmp_path / "digit.png")
    (runs / "linear/show").mkdir()
    (runs / "linear/show/grad_cam.png").touch()
    assert cli.main(["show", str(runs / "linear"), "--image", str(tmp_path / "digit.png"), "--split", "train"]) == 0
    told = capsys.readouterr().out
    assert "Grad-CAM needs a convolutional layer" in told
    assert "10 templates of head, of the classes 0, 1" in told
    assert "digit.png: " in told
    folder = runs / "linear/show"
    assert {path.stem for path in folder.glob("*.png")} == set(NAMES) - set(SPATIAL)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("cnn", "--image", "144"), "the validation split has images 0 to 143"),
        (("cnn", "--image", "none.png"), "there is no such file (or give an index"),
        (("cnn", "--image", "cnn/config.json"), "--image cnn/config.json: "),
        (("all",), "held out no validation split"),
        (("nowhere",), "there is no folder nowhere"),
    ],
)
def test_what_can_not_be_shown_is_a_line(args, words, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert cli.main(["show", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (runs / "all/show").exists()


def untrained(name, size=8, **fields):
    """An experiment on the digits, or on as many larger images, and random variables with running statistics."""
    config = Config(model=ModelConfig(name=name, **fields))
    setup = make_setup(config, load(dataclasses.replace(config.data, image_size=size)), sharding.make_mesh())
    return setup, random_variables(setup.abstract_state().variables)


def test_grad_cam_is_cam_where_an_average_and_a_dense_layer_follow():
    """Zhou et al. 2016, arXiv:1512.04150: a class's weights times the maps, here over the positions."""
    setup, variables = untrained("resnet20", width_multiplier=0.5)
    image = setup.dataset.validation.read(np.asarray([3]))[0]
    inputs = make_input(setup, variables, image, "", None)
    maps = inputs.activations["stage3"].astype(np.float64)
    found = grad_cam(setup.classifier, variables, inputs.activations["stage3"], "stage3", range(10), (8, 8, 1))
    weights = np.asarray(variables["params"]["head"]["kernel"], np.float64) / maps[:, :, 0].size
    np.testing.assert_allclose(found, np.maximum(np.einsum("yxk,kc->cyx", maps, weights), 0), rtol=1e-5, atol=1e-5)
    assert (found > 0).any()
    assert (found == 0).any()


SLOW = ("alexnet", "vgg11", "googlenet", "inception_v2", "inception_v3", "resnet18", "preact_resnet110")
FAMILIES = {"lenet5": 8, "shallow_cnn": 8, "squeezenet1_0": 32, "alexnet": 64, "vgg11": 32, "googlenet": 32}
FAMILIES |= {"inception_v2": 32, "inception_v3": 75, "resnet18": 32, "preact_resnet110": 8}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FAMILIES])
def test_a_network_goes_on_from_its_activations(name):
    """What Grad-CAM differentiates: the logits as a function of the last layer that has positions."""
    size, more = FAMILIES[name], {"auxiliary": False} if name == "inception_v3" else {}  # which need 299 pixels
    variables = dict(random_network(name, size=size, width_multiplier=0.1, options=more).variables)
    model = models.create(name, num_classes=4, width_multiplier=0.1, **more)
    images = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype(np.float32)
    layer = [place.name for place in models.endpoints(model, images.shape[1:]) if len(place.shape) == 3][-1]
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False, features=(layer,)))
    logits, found = apply(variables, images)
    rest = model.clone(start=(layer, images.shape[1:]))
    again = jax.jit(lambda v, x: rest.apply(v, x, train=False))(variables, found[layer])
    assert relative_error(again, logits) < 1e-5


@pytest.mark.parametrize(("name", "layer", "size"), [("lenet5", "s4", 36), ("resnet20", "stage2", 32)])
def test_the_receptive_field_is_where_the_gradient_is(name, layer, size):
    setup, variables = untrained(name, size=size, activation="tanh")
    images = setup.dataset.validation.read(np.asarray([0]))
    inputs = make_input(setup, variables, images[0], "", None)
    place = (0, 1) if name == "lenet5" else (3, 2)

    def unit(images):
        answer: Any = setup.model.apply(variables, images, train=False, features=(layer,))
        return answer[1][layer][0, place[0], place[1]].sum()

    reached = np.argwhere(np.asarray(jax.jit(jax.grad(unit))(inputs.model_input))[0, :, :, 0] != 0)
    top, left, bottom, right = box(views(inputs)[layer], place, (size, size))
    assert reached.min(axis=0).tolist() == [max(top, 0), max(left, 0)]
    assert reached.max(axis=0).tolist() == [min(bottom, size - 1), min(right, size - 1)]
    assert len(reached) < size**2


@pytest.mark.parametrize("name", ["linear", "resnet20"])
def test_the_nearest_neighbors_are_those_of_numpy_in_float64(name):
    setup, variables = untrained(name)
    train = setup.dataset.train
    queries, exclude = (
        np.concatenate([train.images[:2], setup.dataset.validation.images[:3]]),
        np.asarray([0, 1, -1, -1, -1]),
    )
    placed = sharding.replicate(variables, setup.mesh)
    places, distances = nearest(setup, placed, queries, 5, exclude=exclude)

    mean, std = setup.dataset.mean_std()
    pixels = np.concatenate([queries, train.images]).astype(np.float64) / 255
    inputs = (pixels - mean) / std
    features = inputs.reshape(len(inputs), -1)
    if name == "resnet20":
        apply = jax.jit(lambda v, x: setup.model.apply(v, x, train=False, features=("pool",)))
        features = np.asarray(apply(variables, inputs.astype(np.float32))[1]["pool"], np.float64)
    ours, theirs = np.split(features, [len(queries)])
    far = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    far[[0, 1], [0, 1]] = np.inf
    order = np.argsort(far, axis=1, kind="stable")[:, :5]
    np.testing.assert_allclose(distances, np.take_along_axis(far, order, axis=1), rtol=1e-4)
    assert (places == order).mean() > 0.95  # equals may change places
