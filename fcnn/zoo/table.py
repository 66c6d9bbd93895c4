"""Which trained networks have a name: what they were trained on, how good they are, and where their files come from."""

import dataclasses

from fcnn.config import ModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A trained network. How its images are normalized and which size they have is in its file, or known of all
    files of its publisher (`fcnn.weights`)."""

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
    """Where the file is published; None for one that ships with fcnn."""

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name}.safetensors" if self.url is None else self.url.rsplit("/", 1)[1]


def _torchvision(name: str, digits: str, model: str, accuracy: float, mebibytes: float, *, file: str = "") -> Entry:
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
    )


# Accuracies and sizes as torchvision documents them. It adds that weights may be subject to terms of the data that they
# were trained on.
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
    _torchvision("alexnet", "7be5be79", "alexnet", 56.522, 233.087, file="alexnet-owt"),
    _torchvision("googlenet", "1378be20", "googlenet", 69.778, 49.731),
    _torchvision("inception_v3", "0cc3c7bd", "inception_v3", 77.294, 103.903, file="inception_v3_google"),
    _torchvision("resnet18", "f37072fd", "resnet18", 69.758, 44.661),
    _torchvision("resnet50_v1", "0676ba61", "resnet50", 76.130, 97.781),
    _torchvision("resnet50_v2", "11ad3fa6", "resnet50", 80.858, 97.790),
    _torchvision("squeezenet1_0", "b66bff10", "squeezenet1_0", 58.092, 4.778),
    _torchvision("squeezenet1_1", "b8a52dc0", "squeezenet1_1", 58.178, 4.729),
    _torchvision("vgg16_bn", "6c64b313", "vgg16_bn", 73.360, 527.866),
)

TABLE = {entry.name: entry for entry in _ENTRIES}
