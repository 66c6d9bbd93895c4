"""What a trained network says about image files: read as its training images were, answered with probabilities."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fcnn.augment import normalize
from fcnn.calibration import prediction_sets, similarities, threshold_for
from fcnn.data.decode import BadImage, ignore_warnings, open_image, resize_crop
from fcnn.data.parallel import each, no_progress
from fcnn.inference.compiled import compiled
from fcnn.models import logits_and_features
from fcnn.training.pretrained import load_network
from fcnn.utils.batch import make_batch
from fcnn.weights import Network, NetworkInfo

BATCH = 32
"""Images at once."""


class Outputs(NamedTuple):
    """What a network makes of images."""

    logits: Any
    """(B, classes)."""
    features: Any = None
    """(B, D), by which it knows images of none of its classes; None if it doesn't."""


Classify = Callable[[np.ndarray], Outputs]
"""Of uint8 images (B, H, W, C) as they were read."""


def load_classifier(
    source: str, log: Callable[[str], None] = lambda _: None, *, module: nn.Module | None = None
) -> tuple[NetworkInfo, Classify]:
    """A network to ask: a run's folder, a file of weights, or an exported .stablehlo or .onnx file.

    Args:
      source: as for `fcnn.training.pretrained.load_network`, or a path that ends in .stablehlo or .onnx.
      log: gets the network's notes.
      module: the user's own Linen module, for a run or a file of one.

    Raises:
      UserError: there is none.
    """
    if source.endswith(".stablehlo"):
        from fcnn.inference.export import read_stablehlo  # jax.export is slow to import

        exported, info, pixels = read_stablehlo(Path(source).expanduser())
        call = jax.jit(exported.call)
        return info, lambda images: Outputs(call(images if pixels else normalized(info, images)))
    if source.endswith(".onnx"):
        from fcnn.inference.onnx.run import read_onnx

        return read_onnx(Path(source).expanduser())
    network = load_network(source, module=module)
    for note in network.notes:
        log(note)
    return network.info, classifier(network)


def classifier(network: Network) -> Classify:
    """A network as a function of images, compiled."""
    info, outputs = network.info, outputs_of(network.info, network.create())
    return compiled(lambda variables, images: outputs(variables, normalized(info, images)), network.variables)


def outputs_of(info: NetworkInfo, model: nn.Module) -> Callable[[Any, jax.Array], Outputs]:
    """Returns `(variables, images (B, H, W, C), normalized) -> Outputs`, in evaluation."""
    endpoint = info.calibration.endpoint

    def apply(variables: Any, images: jax.Array) -> Outputs:
        if not endpoint:
            return Outputs(model.apply(variables, images, train=False))
        return Outputs(*logits_and_features(model, variables, images, endpoint))

    return apply


def normalized(info: NetworkInfo, images: Any) -> jax.Array:
    """uint8 images (B, H, W, C) as the network takes them, float32."""
    change = normalize(np.asarray(info.mean, np.float32), np.asarray(info.std, np.float32))
    return change(make_batch(images, jnp.zeros(len(images), jnp.int32)))["image"]


def predict(
    info: NetworkInfo,
    classify: Classify,
    paths: Sequence[Path],
    *,
    top: int,
    threshold: float = 0.0,
    coverage: float | None = None,
    tta: bool = False,
) -> Iterator[dict[str, Any]]:
    """What the network says about each file, in their order.

    Args:
      top: how many classes to name, the likeliest first.
      threshold: the least probability of an answer.
      coverage: of the sets of classes (`fcnn.calibration.conformal`); None for no sets.
      tta: whether to average the probabilities of an image and its mirror image (test-time augmentation).

    Yields:
      {"image": path} with what `answers` gives, or with "error": why it can't be read.

    Raises:
      UserError: the network can't promise the coverage.
    """
    size = min(BATCH, len(paths)) or BATCH  # always so many at once: one program
    for start in range(0, len(paths), size):
        part = paths[start : start + size]
        with ignore_warnings():
            read = each(lambda path: _read_or_reason(path, info), part, "reading", no_progress)
        images = np.zeros((size, *info.image_shape), np.uint8)
        for i, image in enumerate(read):
            if not isinstance(image, str):
                images[i] = image
        outputs = classify(images)
        probabilities = info.calibration.probabilities(outputs.logits)
        if tta:
            mirrored = info.calibration.probabilities(classify(images[:, :, ::-1]).logits)
            probabilities = (probabilities + mirrored) / 2
        found = answers(info, probabilities, outputs.features, top=top, threshold=threshold, coverage=coverage)
        for path, image, answer in zip(part, read, found, strict=False):  # the last batch is padded
            yield {"image": str(path)} | ({"error": image} if isinstance(image, str) else answer)


def answers(
    info: NetworkInfo,
    probabilities: np.ndarray,
    features: Any = None,
    *,
    top: int,
    threshold: float = 0.0,
    coverage: float | None = None,
) -> list[dict[str, Any]]:
    """Returns what a network says about each image.

    Args:
      probabilities: (B, classes).
      features: (B, D), by which the network knows images of none of its classes, if it does.
      top, threshold, coverage: as for `predict`.

    Returns:
      {"class": the likeliest, None below the threshold and for an image of none of the classes, "top": [{"class",
      "probability"}, ...]} of each image, with "none_of_these" (bool) and "nearest" (class) of a network that knows
      such images, and "set" (classes) with `coverage`.

    Raises:
      UserError: the network can't promise the coverage.
    """
    classes, calibration = info.classes, info.calibration
    found: list[dict[str, Any]] = []
    for row in probabilities:
        order = np.argsort(-row, kind="stable")
        named = [{"class": classes[k], "probability": float(row[k])} for k in order[:top]]
        found.append({"class": classes[order[0]] if row.max() >= threshold else None, "top": named})
    means = calibration.means(len(classes))
    if means is not None and features is not None:
        for answer, row in zip(found, similarities(np.asarray(features), means), strict=True):
            answer |= {"none_of_these": bool(row.max() < calibration.least_similarity)}
            answer |= {"nearest": classes[row.argmax()]}
            answer["class"] = None if answer["none_of_these"] else answer["class"]
    if coverage is not None:
        sets = prediction_sets(probabilities, threshold_for(calibration.thresholds, coverage, calibration.images))
        for answer, row, inside in zip(found, probabilities, sets, strict=True):
            answer["set"] = [classes[k] for k in np.argsort(-row, kind="stable") if inside[k]]
    return found


def _read_or_reason(path: Path, info: NetworkInfo) -> np.ndarray | str:
    try:
        return read_image(path, info)
    except (BadImage, OSError) as error:
        return getattr(error, "strerror", None) or str(error)


def read_image(source: Path | IO[bytes], info: NetworkInfo) -> np.ndarray:
    """Reads a file as the images were read that the network was evaluated on: (H, W, C) uint8.

    Raises:
      BadImage: it can't be read.
    """
    if isinstance(source, Path) and not source.is_file():
        raise BadImage("a folder without an image" if source.is_dir() else "there is no such file")
    return fitted(open_image(source, at_least=least_side(info), value_range=info.value_range), info)


def least_side(info: NetworkInfo) -> int:
    """Returns how many pixels a photograph's shorter side must have to be no smaller than what is taken of it."""
    return math.ceil(min(info.image_shape[:2]) / info.crop)


def fitted(image: Image.Image, info: NetworkInfo) -> np.ndarray:
    """Returns an image cropped and resized to the network's shape: (H, W, C) uint8."""
    height, width, channels = info.image_shape
    return resize_crop(image, (height, width, channels), crop=info.crop, interpolation=info.interpolation)


def resize_rule(info: NetworkInfo) -> dict[str, Any]:
    """Returns what `fitted` does, for programs that read images without fcnn, as JSON can write it."""
    height, width, channels = info.image_shape
    return {
        "mode": "RGB" if channels == 3 else "L",
        "height": height,
        "width": width,
        "crop": info.crop,
        "interpolation": info.interpolation,
        "antialias": True,
        "rule": "turn the image upright (EXIF), put transparent pixels on white, convert it to 8-bit `mode`; take the "
        "largest center box with the aspect ratio width:height; shrink the box around its center to `crop` of its "
        "height and width, without rounding; resize the box as Pillow does: "
        f"image.resize((width, height), Image.Resampling.{info.interpolation.upper()}, box)",
    }
