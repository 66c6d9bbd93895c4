"""Weights under PyTorch's names: what doesn't fit is named, and real ones give the accuracy that they are known for."""

import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnn import models, registry, weights
from fcnn.utils.errors import UserError
from fcnn.weights.foreign import to_reference
from fcnn.weights.torch_names import array_names, torch_shapes


def state_dict(name, classes=10, image_shape=None, **options):
    """A state_dict of zeros, by way of our own names."""
    model = models.create(name, num_classes=classes, **options)
    images = jax.ShapeDtypeStruct((1, *(image_shape or model.image_shape)), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return weights.to_torch(name, variables, **options), variables


# Names from torchvision 0.28's and akamaster's source, one of each kind.
KNOWN = {
    "resnet18": ["conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "layer4.1.bn2.bias", "fc.bias"],
    "resnet50": ["layer1.0.conv3.weight", "layer1.0.downsample.1.running_var", "layer4.2.bn3.weight"],
    "resnet20": ["conv1.weight", "layer3.2.conv2.weight", "layer3.2.bn2.running_var", "linear.weight"],
    "vgg19_bn": ["features.0.bias", "features.1.weight", "features.49.weight", "features.50.running_var"],
    "vgg13": ["features.22.weight", "classifier.0.weight", "classifier.3.bias", "classifier.6.weight"],
    "alexnet": ["features.10.weight", "classifier.1.weight", "classifier.4.bias"],
    "squeezenet1_0": ["features.0.weight", "features.3.squeeze.weight", "features.5.expand1x1.bias",
                      "features.7.squeeze.weight", "features.12.expand3x3.weight", "classifier.1.weight"],
    "squeezenet1_1": ["features.3.squeeze.weight", "features.6.squeeze.weight", "features.12.expand3x3.weight"],
    "googlenet": ["conv3.bn.weight", "inception4e.branch3.1.conv.weight", "inception5b.branch4.1.bn.bias",
                  "aux2.fc1.weight", "aux1.conv.conv.weight"],
    "inception_v3": ["Conv2d_4a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.weight", "AuxLogits.conv1.conv.weight"],
    "densenet121": ["features.conv0.weight", "features.norm0.bias", "features.denseblock3.denselayer24.conv1.weight",
                    "features.transition2.conv.weight", "features.norm5.running_var", "classifier.bias"],
    "inception_resnet_v2": ["conv2d_2b.conv.weight", "mixed_5b.branch3.1.bn.weight", "repeat.9.branch2.2.conv.weight",
                            "repeat_1.19.conv2d.bias", "mixed_7a.branch0.1.bn.bias", "repeat_2.8.branch1.2.conv.weight",
                            "block8.conv2d.weight", "conv2d_7b.bn.running_var", "classif.weight"],
    "convnext_tiny": ["features.0.1.weight", "features.2.0.bias", "features.4.1.weight", "features.5.8.layer_scale",
                      "features.5.8.block.0.weight", "features.7.2.block.5.bias", "classifier.0.bias"],
    "convnext_atto": ["stem.0.weight", "stages.1.downsample.0.weight", "stages.2.blocks.5.conv_dw.weight",
                      "stages.3.blocks.0.mlp.fc2.bias", "stages.3.blocks.1.gamma", "head.norm.weight"],
    "mobilenet_v2": ["features.0.1.bias", "features.1.conv.0.0.weight", "features.1.conv.1.weight",
                     "features.1.conv.2.running_var", "features.17.conv.0.1.weight", "features.17.conv.1.0.weight",
                     "features.17.conv.2.weight", "features.17.conv.3.bias", "features.18.0.weight",
                     "classifier.1.bias"],
    "shufflenet_v2_x1_0": ["conv1.0.weight", "conv1.1.running_var", "stage2.0.branch1.0.weight",
                           "stage2.0.branch1.3.bias", "stage3.7.branch2.3.weight", "stage4.3.branch2.6.running_mean",
                           "stage4.0.branch1.2.weight", "conv5.0.weight", "conv5.1.bias", "fc.weight"],
    "mnasnet1_0": ["layers.0.weight", "layers.1.running_var", "layers.3.weight", "layers.4.bias", "layers.6.weight",
                   "layers.7.bias", "layers.8.0.layers.0.weight", "layers.12.3.layers.4.running_mean",
                   "layers.13.0.layers.7.bias", "layers.14.weight", "layers.15.weight", "classifier.1.weight"],
    "mobilenet_v3_small": ["features.1.block.0.0.weight", "features.1.block.1.fc1.bias", "features.1.block.2.1.bias",
                           "features.11.block.2.fc2.weight", "features.11.block.3.0.weight", "features.12.0.weight"],
    "mobilenet_v3_large": ["features.0.1.bias", "features.1.block.0.0.weight", "features.1.block.1.1.running_mean",
                           "features.4.block.2.fc1.weight", "features.10.block.2.0.weight",
                           "features.15.block.3.1.bias", "features.16.0.weight", "classifier.0.bias",
                           "classifier.3.weight"],
    "wrn_16_8": ["block1.layer.0.convShortcut.weight", "block3.layer.1.bn2.bias", "bn1.running_mean", "fc.weight"],
    "inception_v2": ["inception_4e_double_3x3_2_bn.running_mean", "conv1_7x7_s2.bias", "last_linear.weight"],
    "efficientnet_b0": ["features.0.0.weight", "features.1.0.block.1.fc2.bias", "features.1.0.block.2.1.running_var",
                        "features.6.3.block.3.0.weight", "features.8.1.bias", "classifier.1.weight"],
    "efficientnet_v2_s": ["features.1.1.block.0.1.bias", "features.3.3.block.1.1.running_mean",
                          "features.4.0.block.2.fc1.bias", "features.6.14.block.3.0.weight", "features.7.0.weight",
                          "classifier.1.bias"],
    "efficientnet_lite0": ["conv_stem.weight", "bn1.bias", "blocks.0.0.bn2.weight", "blocks.0.0.conv_pw.weight",
                           "blocks.5.3.conv_pwl.weight", "bn2.running_var", "classifier.weight"],
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_names_are_the_references(name):
    assert set(KNOWN[name]) <= state_dict(name)[0].keys()


def test_layer_scales_have_the_references_shapes():
    assert state_dict("convnext_tiny")[0]["features.1.0.layer_scale"].shape == (96, 1, 1)
    assert state_dict("convnext_atto")[0]["stages.0.blocks.0.gamma"].shape == (40,)


# Names from timm 1.0.31's source, of torchvision's own file of DenseNet, and from efficientnet_pytorch's source, where
# they are others than above.
OTHER_NAMES = {
    "vgg11": ["pre_logits.fc1.weight", "pre_logits.fc2.bias", "head.fc.weight"],
    "densenet121": ["features.denseblock4.denselayer16.norm.1.running_var",
                    "features.denseblock1.denselayer1.conv.2.weight", "features.transition1.conv.weight"],
    "mobilenet_v2": ["conv_stem.weight", "bn1.bias", "blocks.0.0.conv_dw.weight", "blocks.0.0.bn1.weight",
                     "blocks.0.0.conv_pw.weight", "blocks.0.0.bn2.bias", "blocks.6.0.conv_pw.weight",
                     "blocks.6.0.conv_dw.weight", "blocks.6.0.bn2.running_mean", "blocks.6.0.conv_pwl.weight",
                     "blocks.6.0.bn3.weight", "conv_head.weight", "bn2.running_var", "classifier.weight"],
    "mnasnet1_0": ["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.bn2.bias", "blocks.1.2.conv_pwl.weight",
                   "blocks.6.0.bn3.running_var", "conv_head.weight", "classifier.bias"],
    "mobilenet_v3_large": ["blocks.0.0.conv_dw.weight", "blocks.0.0.bn2.bias", "blocks.2.0.se.conv_reduce.bias",
                           "blocks.2.2.se.conv_expand.weight", "blocks.5.2.bn3.bias", "blocks.6.0.conv.weight",
                           "blocks.6.0.bn1.running_mean", "conv_head.bias", "classifier.bias"],
    "efficientnet_v2_s": ["blocks.0.1.conv.weight", "blocks.0.1.bn1.bias", "blocks.2.3.conv_exp.weight",
                          "blocks.2.3.conv_pwl.weight", "blocks.2.3.bn2.running_var", "blocks.5.14.bn3.weight"],
    "efficientnet_b0": ["conv_stem.weight", "blocks.0.0.se.conv_reduce.bias", "blocks.6.0.conv_pwl.weight",
                        "classifier.bias", "_conv_stem.weight", "_bn0.bias", "_blocks.0._se_expand.bias",
                        "_blocks.15._bn2.running_mean", "_blocks.15._project_conv.weight", "_fc.weight"],
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_weights_under_other_names_are_read_as_well(name):
    """All arrays by the names of the one program come out by those of the other."""
    model = models.create(name, num_classes=1000)
    (_, *others), shapes = array_names(model), torch_shapes(model)
    assert set(OTHER_NAMES[name]) <= {name for names in others for name in names}
    for names in others:
        assert len(names) == len(shapes)
        arrays = {name: np.broadcast_to(np.float32(0), shapes[reference]) for name, reference in names.items()}
        assert {key: array.shape for key, array in to_reference(arrays, model).items()} == shapes


# As the shallower ones of their families, and seconds each to trace.
DEEP = ("resnet110", "plain110", "resnet152", "resnet1202", "preact_resnet1001",
        "wide_resnet101_2", "resnext101_32x8d", "resnext101_64x4d", "seresnet101", "resnet101d",
        "resnetv2_101x1_bit", *(f"regnet_{kind}_{size}gf" for kind in "xy" for size in ("1_6", "3_2", "8", "16", "32")),
        "densenet161", "densenet169", "densenet201")  # fmt: skip
DEEP += tuple(f"efficientnet_b{size}" for size in range(1, 8))
DEEP += ("inception_resnet_v2", "convnext_small", "convnext_base", "convnext_large")
DEEP += ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in DEEP else ()) for name in registry.MODELS]
)
def test_no_two_layers_have_one_name(name):
    found, variables = state_dict(name)
    counters = sum(key.endswith("num_batches_tracked") for key in found)
    assert len(found) - counters == len(jax.tree.leaves(variables))
    assert {len(names) for names in array_names(models.create(name, num_classes=10))} == {len(found) - counters}


def test_what_does_not_fit_is_named():
    good, _ = state_dict("resnet20")
    for change, message in (
        ({"layer1.0.conv1.weight": None}, "weights of resnet20 are missing: layer1.0.conv1.weight$"),
        ({"layer9.conv.weight": np.zeros(3)}, "resnet20 has no place for these weights: layer9.conv.weight$"),
        ({"bn1.bias": np.zeros(3)}, r"another shape: bn1.bias is \(3,\), must be \(16,\)$"),
        ({"conv1.weight": np.zeros((16, 1, 3, 3))}, r"conv1.weight is \(16, 1, 3, 3\), must be \(16, 3, 3, 3\)"),
        ({"linear.weight": None}, "these are no weights of resnet20: they have no 'linear.weight', only layer1.0.bn1"),
    ):
        bad = {key: value for key, value in (good | change).items() if value is not None}
        with pytest.raises(UserError, match=message):
            weights.from_torch("resnet20", bad)
    with pytest.raises(UserError, match="are not the variables of resnet32: "):
        weights.to_torch("resnet32", weights.from_torch("resnet20", good))
    with pytest.raises(UserError, match=r"and 8\d more"):
        weights.from_torch("resnet20", {"linear.weight": good["linear.weight"]})


def test_classes_channels_types_and_options_are_those_of_the_weights():
    found, _ = state_dict("lenet5", classes=26, image_shape=(40, 40, 3))
    found = {key: value.astype(np.float64) for key, value in found.items()}
    variables = weights.from_torch("lenet5", found, image_shape=(40, 40, 3))
    assert variables["params"]["head"]["bias"].shape == (26,)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float64")}
    found, _ = state_dict("resnet20", shortcut="projection")
    with pytest.raises(UserError, match=r"no place for these weights: layer2\.0\.shortcut\.0\.weight"):
        weights.from_torch("resnet20", found)
    assert weights.from_torch("resnet20", found, shortcut="projection")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "right"), [("resnet20", "resnet20-12fca82f.th", 9173), ("resnet56", "resnet56-4bfd9763.th", 9339)]
)
def test_published_cifar_weights_have_their_published_accuracy(name, file, right):
    """The 10,000 test images of CIFAR-10; only zeros on both sides of an option-A shortcut give these numbers."""
    folders = [os.environ.get(variable) for variable in ("FCNN_SHARED_WEIGHTS", "FCNN_SHARED_DATA")]
    if not all(folders):
        pytest.skip("FCNN_SHARED_WEIGHTS and FCNN_SHARED_DATA name no folders with the weights and CIFAR-10")
    torch = pytest.importorskip("torch")
    loaded = torch.load(Path(str(folders[0]), file), map_location="cpu", weights_only=True)["state_dict"]
    variables = weights.from_torch(name, {key.removeprefix("module."): array.numpy() for key, array in loaded.items()})
    records = np.fromfile(Path(str(folders[1]), "cifar-10-batches-bin", "test_batch.bin"), np.uint8).reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    # ImageNet's statistics, with which these weights were trained.
    images = (images / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    apply = jax.jit(functools.partial(models.create(name, num_classes=10).apply, train=False))
    answers = [apply(variables, part).argmax(1) for part in np.split(images.astype(np.float32), 20)]
    assert (np.concatenate(answers) == records[:, 0]).sum() == right
