"""A trained network, and the image whose way through it is followed."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnn import models
from fcnn.data import AnySplit
from fcnn.data.decode import BadImage, ValueRange, ignore_warnings, open_image, resize_crop
from fcnn.distributed import sharding
from fcnn.training.setup import TrainSetup
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable


@dataclasses.dataclass(frozen=True)
class AnalysisInput:
    """A network and an image."""

    setup: TrainSetup
    variables: Any
    """On the host: a single image needs no more than one device."""
    image: np.ndarray
    """(H, W, C) uint8."""
    title: str
    """Where the image is from."""
    label: int | None
    """None where nobody knows."""
    probabilities: np.ndarray
    """(classes,)"""
    activations: dict[str, np.ndarray]
    """At each endpoint: (H, W, C) or (features,)."""

    @property
    def classes(self) -> list[str]:
        """Names that can be printed."""
        return [printable(name) for name in self.setup.dataset.classes]

    @property
    def model_input(self) -> jax.Array:
        """The image as the network takes it, (1, H, W, C) float32."""
        return normalized(self.setup, self.image[None])

    @property
    def spatial(self) -> list[str]:
        """The endpoints that have positions."""
        return [name for name, activation in self.activations.items() if activation.ndim == 3]


def make_input(setup: TrainSetup, variables: Any, image: np.ndarray, title: str, label: int | None) -> AnalysisInput:
    """Runs the network on the image, (H, W, C) uint8."""
    variables = sharding.to_host(variables)
    names = tuple(endpoint.name for endpoint in models.endpoints(setup.model, setup.dataset.image_shape))

    def forward(variables: Any, images: jax.Array) -> Any:
        features: Any = {"features": names} if names else {}
        outputs: Any = setup.model.apply(variables, images, train=False, **features)
        return outputs if names else (outputs, {})

    logits, activations = jax.jit(forward)(variables, normalized(setup, image[None]))
    probabilities = np.asarray(jax.nn.softmax(logits))[0]
    arrays = {name: np.asarray(activations[name], np.float32)[0] for name in names}
    return AnalysisInput(setup, variables, image, title, label, probabilities, arrays)


def normalized(setup: TrainSetup, images: np.ndarray) -> jax.Array:
    """uint8 images (B, H, W, C) as the network takes them, float32."""
    return setup.normalize()(make_batch(images, np.zeros(len(images), np.int32)))["image"]


def find_image(
    image: str, name: str, split: AnySplit, value_range: ValueRange | None
) -> tuple[np.ndarray, str, int | None]:
    """An image by its index in a split or by its file: its pixels as those of the split's images, where it is from, and
    its label if that is known.

    Raises:
      UserError: there is no such image.
    """
    if image.isdecimal():
        index = int(image)
        if index >= len(split):
            raise UserError(f"--image {image}: the {name} split has images 0 to {len(split) - 1}")
        return split.read(np.asarray([index]))[0], f"{name} image {index}", int(split.labels[index])
    path = Path(image)
    if not path.is_file():
        raise UserError(f"--image {image}: there is no such file (or give an index in the {name} split)")
    try:
        with ignore_warnings():
            opened = open_image(path, at_least=min(split.shape[:2]), value_range=value_range)
            return resize_crop(opened, split.shape), path.name, None
    except BadImage as error:
        raise UserError(f"--image {image}: {error}") from None
