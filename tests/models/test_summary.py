"""The summary against what is published: GFLOPs by torchvision, receptive fields by Araujo et al. and by the pixel."""

import dataclasses
import functools
import json
import re
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import ROOT

import fcnn
from fcnn import cli, models, registry
from fcnn.models.classifier import Classifier
from fcnn.models.counts import FILE
from fcnn.models.shufflenet_v2 import interleave
from fcnn.models.summary import summarize
from fcnn.nn import avg_pool, max_pool
from fcnn.utils.errors import UserError

# torchvision 0.28's documentation of its pretrained weights ("GFLOPS"), with the figures of the issue tracker's table.
GFLOPS = {
    "alexnet": 0.714, "vgg11": 7.609, "vgg13": 11.308, "vgg16": 15.470, "vgg19": 19.632, "vgg16_bn": 15.470,
    "googlenet": 1.498, "inception_v3": 5.713, "resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089,
    "resnet101": 7.801, "resnet152": 11.514, "squeezenet1_0": 0.819, "squeezenet1_1": 0.349,
    "resnext50_32x4d": 4.230, "densenet121": 2.834, "mobilenet_v2": 0.301, "shufflenet_v2_x1_0": 0.145,
    "mnasnet1_0": 0.314, "mobilenet_v3_small": 0.057, "mobilenet_v3_large": 0.217,
    "efficientnet_b0": 0.386, "efficientnet_v2_s": 8.366, "regnet_y_400mf": 0.402,
    "convnext_tiny": 4.456,
}  # fmt: skip

# Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks", table 1: VGG-16 at its last
# pool, the others before average pooling; ResNets with the stride on the first 1x1 in v1.
FIELDS = {
    "vgg16": ({}, 212, 32), "inception_v2": ({}, 699, 32), "inception_v3": ({}, 1311, 32),
    "resnet50": ({"stride_on": "1x1"}, 483, 32), "resnet101": ({"stride_on": "1x1"}, 1027, 32),
}  # fmt: skip


def create(name, **options):
    return models.create(name, num_classes=models.family(name).classes, **options)


@pytest.mark.parametrize(("name", "gflops"), GFLOPS.items())
def test_multiply_adds_are_torchvisions(name, gflops):
    rows = summarize(create(name))
    assert round(sum(row.multiply_adds for row in rows) / 1e9, 3) == gflops


@pytest.mark.parametrize(("name", "expected"), FIELDS.items())
def test_receptive_fields_are_the_published_ones(name, expected):
    options, field, stride = expected
    last = [row for row in summarize(create(name, **options)) if row.field is not None][-1]
    assert (last.field, last.stride) == ((field, field), (stride, stride))


def test_parameters_add_up():
    for name in ("resnet18", "vgg11_bn", "inception_v2", "squeezenet1_1", "alexnet_2012"):
        model = create(name)
        images = jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float32)
        params = jax.eval_shape(lambda x, m=model: m.init(jax.random.key(0), x, train=False), images)["params"]
        assert sum(row.parameters for row in summarize(model)) == sum(leaf.size for leaf in jax.tree.leaves(params))


class Odd(Classifier, kw_only=True):
    """Everything that moves windows: strides, unequal kernels, padding, pools of both kinds, branches; and what works
    position by position, a norm and a shuffle of channels, that doesn't."""

    norm = "none"

    def forward(self, x, train, endpoint):
        conv, _, _ = self.layers(train)
        x = nn.LayerNorm(name="norm")(conv(3, (3, 5), 2, (1, 0), name="first")(x))
        x = endpoint("pooled", max_pool(x, 3, stride=2, padding=1))
        left = avg_pool(x, 2, stride=1, padding=1)[:, :-1, :-1]
        right = conv(3, (1, 3), 1, (0, 1), name="right")(x)
        x = endpoint("joined", interleave(jnp.concatenate([left, right], axis=-1), jnp.concatenate([x, x], axis=-1)))
        x = endpoint("dilated", conv(4, 2, 3, name="last")(x))
        return self.head(name="head")(x.mean((1, 2)))


def test_the_receptive_field_is_what_the_gradient_reaches():
    """For each endpoint: the pixels that an output in the middle depends on, found by derivatives."""
    model, size = Odd(num_classes=2, activation="softplus"), 64
    x = jax.random.normal(jax.random.key(0), (1, size, size, 1))
    variables = model.init(jax.random.key(1), x, train=False)
    rows = {row.name: row for row in summarize(model, (size, size, 1)) if not row.type}
    # A maximum passes its gradient to one entry: draw until every entry was the largest.
    noisy = jax.random.normal(jax.random.key(2), (30, *x.shape))
    for name in ("pooled", "joined", "dilated"):

        def middle(x, shift, name=name):
            found: Any
            _, found = model.apply(variables, x, train=False, features=(name,))
            found = found[name]
            height, width = found.shape[1] // 2 + shift, found.shape[2] // 2 + shift
            return found[0, height, width].sum()

        spans = []
        for shift in (0, 1):
            gradients = jax.jit(jax.vmap(jax.grad(functools.partial(middle, shift=shift))))(noisy)
            reached = np.asarray(gradients != 0).any(axis=(0, 1, 4))
            spans.append([np.flatnonzero(np.any(reached, axis)) for axis in (1, 0)])
        field = tuple(int(span[-1] - span[0] + 1) for span in spans[0])
        step = tuple(int(b[0] - a[0]) for a, b in zip(*spans, strict=True))
        assert (rows[name].field, rows[name].stride) == (field, step)


class Chain(Classifier, kw_only=True):
    """Convolutions of given kernels with 12 channels each, no bias: what small kernels save."""

    kernels: tuple

    def forward(self, x, train, endpoint):
        conv, _, _ = self.layers(train)
        for i, kernel in enumerate(self.kernels):
            x = conv(12, kernel, use_bias=False, name=f"conv{i}")(x)
        return self.head(name="head")(endpoint("last", x).mean((1, 2)))


def weights_and_field(*kernels):
    rows = summarize(Chain(num_classes=2, kernels=kernels), (32, 32, 12))
    return sum(row.parameters for row in rows if row.type == "Conv"), rows[-2].field


def test_small_kernels_see_as_much_with_fewer_weights():
    """Simonyan & Zisserman 2014, section 2.3; Szegedy et al. 2015, section 3."""
    c = 12
    assert weights_and_field(3, 3, 3) == (27 * c**2, (7, 7))
    assert weights_and_field(7) == (49 * c**2, (7, 7))
    two, five = weights_and_field(3, 3), weights_and_field(5)
    assert (two[1], two[0] / five[0]) == (five[1], 1 - 0.28)
    split, square = weights_and_field((1, 3), (3, 1)), weights_and_field(3)
    assert (split[1], round(1 - split[0] / square[0], 2)) == (square[1], 0.33)


def test_the_columns_are_straight_and_batch_norm_has_its_name(capsys):
    """Every cell ends, or begins, where its column's head does; how a layer is computed on a CPU isn't its kind."""
    assert cli.main(["summary", "squeezenet1_0", "--image-size", "32"]) == 0
    assert cli.main(["summary", "resnet20"]) == 0
    for text in capsys.readouterr().out.split("layer ")[1:]:
        head, *lines = ("layer " + text.split("\n\n")[0]).splitlines()
        starts, ends = (
            [head.index(word) for word in ("layer", "type")],
            [m.end() for m in re.finditer(r"\S+", head)][2:],
        )
        for line in lines:
            cells = list(re.finditer(r"> \S+|\S+", line))
            assert cells[0].start() == starts[0]
            if line[0] != ">":
                assert cells[1].start() == starts[1]
                assert cells[1][0] in ("Conv", "Dense", "BatchNorm")
            assert {m.end() for m in cells[1 + (line[0] != ">") :]} <= set(ends), line


def test_the_command(capsys):
    assert cli.main(["summary", "lenet5"]) == 0
    text = capsys.readouterr().out
    assert "61,706 parameters" in text
    assert "f6" in text
    assert cli.main(["summary", "resnet18", "--image-size", "64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = summarize(create("resnet18"), (64, 64, 3))
    assert found["layers"] == json.loads(json.dumps([dataclasses.asdict(row) for row in rows]))
    assert found["parameters"] == 11_689_512
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(registry.MODELS)]] == list(registry.MODELS)
    (row,) = (line for line in lines if line.startswith("resnet50 "))
    assert (
        re.sub(" +", " ", row)
        == "resnet50 224x224x3 1000 25.56 4.09 resnet50_v2 80.9% He et al. 2015, arXiv:1512.03385"
    )


def test_some_of_the_architectures(capsys):
    assert cli.main(["models", "resnet*d", "--json"]) == 0
    found = [row["name"] for row in json.loads(capsys.readouterr().out)["models"]]
    assert found == fcnn.list_models("resnet*d") == ["resnet18d", "resnet34d", "resnet50d", "resnet101d"]
    assert fcnn.list_models() == list(registry.MODELS)
    assert fcnn.list_models("*lite*", pretrained=True) == [f"efficientnet_lite{i}" for i in range(3)]


def test_a_mistake_is_a_line(capsys):
    for args, message in (
        (["models", "resnet19"], "unknown model 'resnet19'; did you mean resnet1"),
        (["summary", "resnet19"], "unknown model 'resnet19'; did you mean resnet1"),
        (["summary", "vgg11", "--image-size", "16"], "VGG can't take images of 16x16; the smallest are 32x32"),
        (["summary", "vgg11", "--image-size", "0"], "--image-size must be at least 1, got 0"),
        (["summary", "lenet5", "--image-size", "1" + "0" * 400], "--image-size must be at most 4,096, got 10000"),
    ):
        assert cli.main(args) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(UserError, match="smallest are 75x75"):
        summarize(create("inception_v3"), (74, 74, 3))


def test_the_page_of_architectures_is_up_to_date():
    """Every name in its order; the lines of a few, computed again. `python docs/make_models.py` writes the page."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_models  # pyright: ignore[reportMissingImports]  # found in docs/
    finally:
        sys.path.pop(0)
    page = (ROOT / "docs" / "models.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == list(registry.MODELS)
    for name in ("linear", "lenet5", "alexnet_2012", "googlenet_2014", "resnet18", "squeezenet1_1"):
        assert make_models.row(name) in page
        assert make_models.counts(name) in FILE.read_text()
    assert json.loads(FILE.read_text()).keys() == registry.MODELS.keys()
    assert page.startswith(make_models.HEAD)
    assert page.endswith(make_models.TAIL)
