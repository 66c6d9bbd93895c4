"""torchvision's published weights of ImageNet: names, digests, accuracies, sizes, and how photographs are cropped."""

from fcnn import registry
from fcnn.config import ModelConfig
from fcnn.config.names import Interpolation
from fcnn.zoo.entry import Entry


def _entry(
    name: str,
    digits: str,
    accuracy: float,
    mebibytes: float,
    *,
    file: str | None = None,
    resize: int = 256,
    size: int = 224,
    interpolation: Interpolation = "bilinear",
) -> Entry:
    """Returns the entry of a file of torchvision's, whose name carries the first eight digits of its SHA-256.

    Args:
      name: the architecture's, with "_v1" or "_v2" behind it where there are two.
      resize: the shorter side, in pixels, before the center is cropped.
      size: of that crop.
    """
    model = name if name in registry.MODELS else name.rpartition("_")[0]
    return Entry(
        name=name,
        model=ModelConfig(name=model),
        source="ImageNet-1k",
        accuracy=accuracy / 100,
        megabytes=mebibytes * 2**20 / 1e6,
        license="BSD-3-Clause",
        sha256=digits,
        url=f"https://download.pytorch.org/models/{file or model}-{digits}.pth",
        classes="imagenet.txt",
        crop=size / resize,
        interpolation=interpolation,
        image_size=size,
    )


# Accuracies and sizes are as torchvision documents them. It adds that weights may be subject to terms of the data that
# they were trained on.
TORCHVISION = (
    _entry("alexnet", "7be5be79", 56.522, 233.087, file="alexnet-owt"),
    _entry("vgg11", "8a719046", 69.020, 506.840),
    _entry("vgg13", "19584684", 69.928, 507.545),
    _entry("vgg16", "397923af", 71.592, 527.796),
    _entry("vgg19", "dcbb9e9d", 72.376, 548.051),
    _entry("vgg11_bn", "6002323d", 70.370, 506.881),
    _entry("vgg13_bn", "abd245e5", 71.586, 507.590),
    _entry("vgg16_bn", "6c64b313", 73.360, 527.866),
    _entry("vgg19_bn", "c79401a0", 74.218, 548.143),
    _entry("googlenet", "1378be20", 69.778, 49.731),
    _entry("inception_v3", "0cc3c7bd", 77.294, 103.903, file="inception_v3_google", resize=342, size=299),
    _entry("resnet18", "f37072fd", 69.758, 44.661),
    _entry("resnet34", "b627a593", 73.314, 83.275),
    _entry("resnet50_v1", "0676ba61", 76.130, 97.781),
    _entry("resnet50_v2", "11ad3fa6", 80.858, 97.790, resize=232),
    _entry("resnet101_v1", "63fe2227", 77.374, 170.511),
    _entry("resnet101_v2", "cd907fc2", 81.886, 170.530, resize=232),
    _entry("resnet152_v1", "394f9c45", 78.312, 230.434),
    _entry("resnet152_v2", "f82ba261", 82.284, 230.474, resize=232),
    _entry("squeezenet1_0", "b66bff10", 58.092, 4.778),
    _entry("squeezenet1_1", "b8a52dc0", 58.178, 4.729),
    _entry("wide_resnet50_2_v1", "95faca4d", 78.468, 131.820),
    _entry("wide_resnet50_2_v2", "9ba9bcbe", 81.602, 263.124, resize=232),
    _entry("wide_resnet101_2_v1", "32ee1156", 78.848, 242.896),
    _entry("wide_resnet101_2_v2", "d733dc28", 82.510, 484.747, resize=232),
    _entry("densenet121", "a639ec97", 74.434, 30.845),
    _entry("densenet161", "8d451a50", 77.138, 110.369),
    _entry("densenet169", "b2777c0a", 75.600, 54.708),
    _entry("densenet201", "c1103571", 76.896, 77.373),
    _entry("resnext50_32x4d_v1", "7cdf4587", 77.618, 95.789),
    _entry("resnext50_32x4d_v2", "1a0047aa", 81.198, 95.833, resize=232),
    _entry("resnext101_32x8d_v1", "8ba56ff5", 79.312, 339.586),
    _entry("resnext101_32x8d_v2", "110c445d", 82.834, 339.673, resize=232),
    _entry("resnext101_64x4d", "173b62eb", 83.246, 319.318, resize=232),
    _entry("mobilenet_v2_v1", "b0353104", 71.878, 13.555),
    _entry("mobilenet_v2_v2", "7ebf99e0", 72.154, 13.598, resize=232),
    _entry("mobilenet_v3_small", "047dcff4", 67.668, 9.829),
    _entry("mobilenet_v3_large_v1", "8738ca79", 74.042, 21.114),
    _entry("mobilenet_v3_large_v2", "5c1a4163", 75.274, 21.107, resize=232),
    _entry("efficientnet_b0", "7f5810bc", 77.692, 20.451, file="efficientnet_b0_rwightman", interpolation="bicubic"),
    _entry(
        "efficientnet_b1_v1",
        "bac287d4",
        78.642,
        30.134,
        file="efficientnet_b1_rwightman",
        interpolation="bicubic",
        size=240,
    ),
    _entry("efficientnet_b1_v2", "c27df63c", 79.838, 30.136, resize=255, size=240),
    _entry(
        "efficientnet_b2",
        "c35c1473",
        80.608,
        35.174,
        file="efficientnet_b2_rwightman",
        resize=288,
        interpolation="bicubic",
        size=288,
    ),
    _entry(
        "efficientnet_b3",
        "b3899882",
        82.008,
        47.184,
        file="efficientnet_b3_rwightman",
        resize=320,
        interpolation="bicubic",
        size=300,
    ),
    _entry(
        "efficientnet_b4",
        "23ab8bcd",
        83.384,
        74.489,
        file="efficientnet_b4_rwightman",
        resize=384,
        interpolation="bicubic",
        size=380,
    ),
    _entry(
        "efficientnet_b5",
        "1a07897c",
        83.444,
        116.864,
        file="efficientnet_b5_lukemelas",
        resize=456,
        interpolation="bicubic",
        size=456,
    ),
    _entry(
        "efficientnet_b6",
        "24a108a5",
        84.008,
        165.362,
        file="efficientnet_b6_lukemelas",
        resize=528,
        interpolation="bicubic",
        size=528,
    ),
    _entry(
        "efficientnet_b7",
        "c5b4e57e",
        84.122,
        254.675,
        file="efficientnet_b7_lukemelas",
        resize=600,
        interpolation="bicubic",
        size=600,
    ),
    _entry("efficientnet_v2_s", "dd5fe13b", 84.228, 82.704, resize=384, size=384),
    _entry("efficientnet_v2_m", "dc08266a", 85.112, 208.010, resize=480, size=480),
    _entry("efficientnet_v2_l", "59c71312", 85.808, 454.573, resize=480, size=480, interpolation="bicubic"),
    _entry("convnext_tiny", "983f1562", 82.520, 109.119, resize=236),
    _entry("convnext_small", "0c510722", 83.616, 191.703, resize=230),
    _entry("convnext_base", "6075fbad", 84.062, 338.064, resize=232),
    _entry("convnext_large", "ea097f82", 84.414, 754.537, resize=232),
)
