"""How many parameters each architecture has: the papers' counts, torchvision's and timm's."""

import jax
import jax.numpy as jnp
import pytest

from fcnn import models

PARAMETERS = {
    "lenet5": 61_706, "alexnet": 61_100_840, "alexnet_2012": 60_965_224,
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
    "googlenet": 13_004_888, "googlenet_2014": 13_378_280, "inception_v2": 11_295_240, "inception_v3": 27_161_264,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnext50_32x4d": 25_028_904, "resnext101_32x8d": 88_791_336, "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240, "wide_resnet101_2": 126_886_696,
    "seresnet18": 11_779_624, "seresnet34": 21_960_416, "seresnet50": 28_088_024, "seresnet101": 49_326_872,
    "resnet18d": 11_708_744, "resnet34d": 21_816_904, "resnet50d": 25_576_264, "resnet101d": 44_568_392,
    "regnet_x_400mf": 5_495_976, "regnet_x_800mf": 7_259_656, "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552, "regnet_x_8gf": 39_572_648, "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560, "regnet_y_400mf": 4_344_144, "regnet_y_800mf": 6_432_512,
    "regnet_y_1_6gf": 11_202_430, "regnet_y_3_2gf": 19_436_338, "regnet_y_8gf": 39_381_472,
    "regnet_y_16gf": 83_590_140, "regnet_y_32gf": 145_046_770,
    "resnetv2_50x1_bit": 25_549_352, "resnetv2_101x1_bit": 44_541_480,
    "resnet20": 269_722, "resnet32": 464_154, "resnet44": 658_586, "resnet56": 853_018,
    "resnet110": 1_727_962, "plain20": 269_722,
    "squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496,
    "densenet121": 7_978_856, "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856, "mobilenet_v3_large": 5_483_032,
    "shufflenet_v2_x0_5": 1_366_792, "shufflenet_v2_x1_0": 2_278_604,
    "shufflenet_v2_x1_5": 3_503_624, "shufflenet_v2_x2_0": 7_393_996,
    "mnasnet0_5": 2_218_512, "mnasnet0_75": 3_170_208, "mnasnet1_0": 4_383_312, "mnasnet1_3": 6_282_256,
    # He et al. 2016 give 1.7M, 1.7M and 10.2M.
    "preact_resnet110": 1_727_962, "preact_resnet164": 1_703_258,
    # Zagoruyko & Komodakis 2016 give 8.9M, 11.0M and 36.5M.
    "wrn_40_4": 8_949_210, "wrn_16_8": 10_961_370, "wrn_28_10": 36_479_194,
    # torchvision's and timm's.
    "efficientnet_b0": 5_288_548, "efficientnet_b1": 7_794_184,
    "efficientnet_lite0": 4_652_008, "efficientnet_lite1": 5_416_680, "efficientnet_lite2": 6_092_072,
    "efficientnet_lite3": 8_197_096, "efficientnet_lite4": 13_006_568,
    "convnext_atto": 3_695_520, "convnext_femto": 5_217_784, "convnext_pico": 9_045_672, "convnext_nano": 15_593_560,
    "convnext_tiny": 28_589_128, "xception": 22_855_952,
    "inception_v4": 42_679_816,
}  # fmt: skip
# Seconds each to trace.
DEEPEST = {
    "resnet1202": 19_421_274, "preact_resnet1001": 10_327_706, "plain110": 1_727_962, "resnet152": 60_192_808,
    "densenet161": 28_681_000, "densenet169": 14_149_480, "densenet201": 20_013_928,
    "efficientnet_b2": 9_109_994, "efficientnet_b3": 12_233_232, "efficientnet_b4": 19_341_616,
    "efficientnet_v2_s": 21_458_488, "efficientnet_v2_m": 54_139_356, "efficientnet_v2_l": 118_515_272,
    "efficientnet_b5": 30_389_784, "efficientnet_b6": 43_040_704, "efficientnet_b7": 66_347_960,
    "inception_resnet_v2": 55_843_464,
    "convnext_small": 50_223_688, "convnext_base": 88_591_464, "convnext_large": 197_767_336,
}  # fmt: skip


def published(name, **options):
    """An architecture with the classes it was published for, and the shapes of its variables."""
    model = models.create(name, num_classes=models.family(name).classes, **options)
    images = jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float32)
    return model, jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


def size_of(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [*PARAMETERS.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in DEEPEST.items())],
)
def test_parameter_counts_are_the_papers(name, parameters):
    assert size_of(published(name)[1]["params"]) == parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("googlenet", 6_624_904), ("googlenet_2014", 6_998_552), ("inception_v3", 23_834_568)]
)
def test_parameter_counts_without_auxiliary_heads(name, parameters):
    assert size_of(published(name, auxiliary=False)[1]["params"]) == parameters
