"""A trained network as an object of Python: `fcnn.load(path).predict(images)`."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import flax.linen as nn
import jax
import numpy as np
from PIL import Image

from fcnn.data.decode import BadImage, plain
from fcnn.data.parallel import one_item
from fcnn.inference.compiled import compiled
from fcnn.inference.predict import BATCH, Outputs, answers, fitted, normalized, outputs_of, read_image
from fcnn.report.page import FILE as REPORT
from fcnn.training.pretrained import load_network
from fcnn.utils.errors import UserError
from fcnn.utils.html import Inline, table
from fcnn.weights import Network
from fcnn.zoo import TABLE

SHOWN = 12
"""Names of classes in a notebook's table."""
ImageFile = str | Path | IO[bytes] | Image.Image
"""A path, an open file, or an image of Pillow's."""
Images = np.ndarray | ImageFile | Sequence[ImageFile]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class LoadedNetwork(Network):
    """A trained network, in evaluation; its variables are on the device."""

    model: nn.Module
    """The Linen module."""
    apply: Callable[[Mapping[str, Any], jax.Array], jax.Array]
    """`(variables, images (B, H, W, C) float32 as `preprocess` gives them) -> logits (B, classes)`; compiled."""
    outputs: Callable[[jax.Array], Outputs]
    """The same of the images alone, with these variables, and the features by which the network knows images of none of
    its classes; on a CPU faster by up to four times. Not differentiable."""
    run: Path | None = None
    """The folder of the run that it was loaded from, if any."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.info.classes

    def show(self) -> Inline:
        """Returns the run's report, which a notebook shows: curves, confusion matrix, mistakes, filters.

        Raises:
          UserError: it wasn't loaded from a run, or the run has no report yet.
        """
        if self.run is None:
            raise UserError("only a run has a report, and this network is from a file of weights or the zoo")
        try:
            return Inline((self.run / REPORT).read_bytes())
        except OSError:
            raise UserError(f"{self.run} has no {REPORT} yet: finish the run first") from None

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.info.image_shape))
        return f"LoadedNetwork({self.info.name}, {len(self.classes)} classes, images of {shape})"

    def _repr_html_(self) -> str:
        info, classes = self.info, list(self.classes)
        names = ", ".join(classes[:SHOWN]) + (f", ... ({len(classes)})" if len(classes) > SHOWN else "")
        rows = [
            ("network", info.name),
            ("from", str(self.run or "a file of weights")),
            ("classes", names),
            ("images", " x ".join(map(str, info.image_shape))),
            ("parameters", f"{sum(leaf.size for leaf in jax.tree.leaves(self.variables['params'])):,}"),
            ("temperature", f"{info.calibration.temperature:.3g}" if info.calibration.images else "not calibrated"),
        ]
        return table(rows)

    def preprocess(self, images: np.ndarray) -> jax.Array:
        """Normalizes uint8 images (B, H, W, C) as those that it was trained on: the same shape, float32."""
        return normalized(self.info, images)

    def logits(self, images: jax.Array) -> jax.Array:
        """Computes the logits (B, classes) of images as `preprocess` gives them, by `outputs`."""
        return self.outputs(images).logits

    def predict(self, images: Images) -> np.ndarray:
        """Returns the probability of each class, (N, classes) float32, calibrated where the run had enough images.

        Args:
          images: one or several images as `read` takes them; or uint8 (N, H, W, C), of the size of the training images.
            So many at once as the next power of two, at most 32, are one program, compiled when it is first needed.

        Raises:
          UserError: a file can't be read, or the array isn't of that kind.
        """
        none = np.zeros((0, len(self.classes)), np.float32)
        return np.concatenate([none, *(probabilities for probabilities, _ in self._batches(images))])

    def classify(
        self, images: Images, *, top: int = 5, threshold: float = 0.0, coverage: float | None = None
    ) -> list[dict[str, Any]]:
        """Returns the answer of `fcnn predict --json` to each image.

        Args:
          images: as for `predict`.
          top: how many classes to name, the likeliest first.
          threshold: the least probability of an answer.
          coverage: of the sets of classes, such as 0.95 (conformal prediction); None for no sets.

        Returns:
          {"class": the likeliest, None below the threshold and for an image of none of the classes, "top": [{"class",
          "probability"}, ...]} of each image; with "none_of_these" (bool) and "nearest" (class) of a network that knows
          such images, and "set" (classes) with `coverage`.

        Raises:
          UserError: as for `predict`, or the network can't promise the coverage.
        """
        return [
            answer
            for batch in self._batches(images)
            for answer in answers(self.info, *batch, top=top, threshold=threshold, coverage=coverage)
        ]

    def _batches(self, images: Images) -> Iterator[tuple[np.ndarray, Any]]:
        """Yields the probabilities and features of at most BATCH images at a time."""
        pixels = self._pixels(images)
        for start in range(0, len(pixels), BATCH):
            batch = np.stack(pixels[start : start + BATCH])
            count = len(batch)
            size = 1 << (count - 1).bit_length()
            padded = np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), np.uint8)])
            logits, features = self.outputs(self.preprocess(padded))
            probabilities = self.info.calibration.probabilities(logits)
            yield probabilities[:count], None if features is None else features[:count]

    def _pixels(self, images: Images) -> list[np.ndarray]:
        """Returns images as they are read, each (H, W, C) uint8."""
        if isinstance(images, np.ndarray):
            shape = self.info.image_shape
            if images.dtype != np.uint8 or images.shape[1:] != shape:
                size = " x ".join(map(str, shape))
                raise UserError(f"images must be uint8, N x {size}, got {images.dtype} {images.shape}")
            return list(images)
        is_one = isinstance(images, str | Path | Image.Image) or hasattr(images, "read")
        several: Any = [images] if is_one else images
        return [self.read(image) for image in several]

    def read(self, image: ImageFile) -> np.ndarray:
        """Reads an image as the training images were, cropped and resized: (H, W, C) uint8.

        Raises:
          UserError: it can't be read.
        """
        if isinstance(image, Image.Image):
            return fitted(plain(image, self.info.value_range), self.info)
        source = Path(image) if isinstance(image, str) else image
        is_path = isinstance(source, Path)
        if not is_path and not hasattr(source, "read"):
            raise UserError(f"an image must be a path, an open file or one of Pillow's, got {type(image).__name__}")
        try:
            with one_item():
                return read_image(source, self.info)
        except (BadImage, OSError) as error:
            name = source if is_path else "the image can't be read"
            raise UserError(f"{name}: {getattr(error, 'strerror', None) or error}") from None


def load(source: str | Path, *, model: nn.Module | None = None) -> LoadedNetwork:
    """Loads a trained network: a run's folder, a file of weights, or a name that `fcnn zoo` lists.

    Args:
      model: the user's own Linen module, for a run or a file of one.

    Raises:
      UserError: there is none, or `model` is missing.
    """
    network = load_network(str(source), module=model)
    module = network.create()
    apply: Any = jax.jit(lambda variables, images: module.apply(variables, images, train=False))
    variables = jax.device_put(dict(network.variables))
    run = Path(source).expanduser()
    return LoadedNetwork(
        **vars(network) | {"variables": variables},
        model=module,
        apply=apply,
        outputs=compiled(outputs_of(network.info, module), variables),
        run=run if run.is_dir() and str(source) not in TABLE else None,  # a name of the zoo comes before a folder's
    )
