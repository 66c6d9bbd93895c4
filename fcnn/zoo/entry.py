"""What the zoo knows of a trained network beside its weights."""

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
    extra: str | None = None
    """The extra of fcnn that installs `package`; None if it comes with fcnn."""
    classes: str | None = None
    """The file beside this one with the names of the classes, a line each; None where the weights' file has them."""
    crop: float = 1.0
    """As `NetworkInfo.crop`, where the weights' file doesn't say it."""
    interpolation: Interpolation = "bilinear"
    """As `NetworkInfo.interpolation`, where the weights' file doesn't say it."""

    image_size: int | None = None
    """Height and width of the images, where the weights' file doesn't say it and it isn't the architecture's."""

    @property
    def file(self) -> str:
        """The file's name."""
        return (self.path or self.url or f"{self.name}.safetensors").rsplit("/", 1)[-1]
