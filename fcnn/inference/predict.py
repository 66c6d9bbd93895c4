"""What a trained network says about image files: read as its training images were, answered with probabilities."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fcnn.augment import normalize
from fcnn.data.decode import BadImage, ignore_warnings, open_image, resize_crop
from fcnn.data.parallel import each, no_progress
from fcnn.training.pretrained import load_network
from fcnn.utils.batch import make_batch
from fcnn.weights import NetworkInfo

BATCH = 32
"""Images at once."""

# uint8 images (B, H, W, C) as they were read -> logits (B, classes).
Logits = Callable[[np.ndarray], Any]


def load_classifier(
    source: str, log: Callable[[str], None] = lambda _: None, *, module: nn.Module | None = None
) -> tuple[NetworkInfo, Logits]:
    """A network to ask: a run's folder, a file of weights, or an exported .stablehlo program.

    Args:
      source: as for `fcnn.training.pretrained.load_network`, or a path that ends in .stablehlo.
      log: gets the network's notes.
      module: the user's own Linen module, for a run or a file of one.

    Raises:
      UserError: there is none.
    """
    if source.endswith(".stablehlo"):
        from fcnn.inference.export import read_stablehlo  # jax.export is slow to import

        exported, info, pixels = read_stablehlo(Path(source).expanduser())
        call = jax.jit(exported.call)
        return info, (call if pixels else lambda images: call(normalized(info, images)))
    network = load_network(source, module=module)
    for note in network.notes:
        log(note)
    info, model = network.info, network.create()
    apply = jax.jit(lambda variables, images: model.apply(variables, normalized(info, images), train=False))
    variables = jax.device_put(dict(network.variables))
    return info, lambda images: apply(variables, images)


def normalized(info: NetworkInfo, images: Any) -> jax.Array:
    """uint8 images (B, H, W, C) as the network takes them, float32."""
    change = normalize(np.asarray(info.mean, np.float32), np.asarray(info.std, np.float32))
    return change(make_batch(images, jnp.zeros(len(images), jnp.int32)))["image"]


def predict(
    info: NetworkInfo,
    logits: Logits,
    paths: Sequence[Path],
    *,
    top: int,
    threshold: float = 0.0,
    tta: bool = False,
) -> Iterator[dict[str, Any]]:
    """What the network says about each file, in their order.

    Args:
      top: how many classes to name, the likeliest first.
      threshold: the least probability of an answer.
      tta: whether to average the probabilities of an image and its mirror image (test-time augmentation).

    Yields:
      {"image": path, "class": the likeliest, or None below the threshold, "top": [{"class", "probability"}, ...]}, or
      {"image": path, "error": why it can't be read}.
    """
    size = min(BATCH, len(paths))  # always so many at once: one program
    for start in range(0, len(paths), size):
        part = paths[start : start + size]
        with ignore_warnings():
            read = each(lambda path: _read_or_reason(path, info), part, "reading", no_progress)
        images = np.zeros((size, *info.image_shape), np.uint8)
        for i, image in enumerate(read):
            if not isinstance(image, str):
                images[i] = image
        probabilities = softmax(logits(images))
        if tta:
            probabilities = (probabilities + softmax(logits(images[:, :, ::-1]))) / 2
        for path, image, row in zip(part, read, probabilities[: len(part)], strict=True):
            if isinstance(image, str):
                yield {"image": str(path), "error": image}
                continue
            order = np.argsort(-row, kind="stable")
            named = [{"class": info.classes[k], "probability": float(row[k])} for k in order[:top]]
            answer = info.classes[order[0]] if row[order[0]] >= threshold else None
            yield {"image": str(path), "class": answer, "top": named}


def softmax(logits: Any) -> np.ndarray:
    """Computes probabilities from logits, (B, classes): float32."""
    logits = np.asarray(logits, np.float64)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def _read_or_reason(path: Path, info: NetworkInfo) -> np.ndarray | str:
    try:
        return read_image(path, info)
    except (BadImage, OSError) as error:
        return getattr(error, "strerror", None) or str(error)


def read_image(path: Path, info: NetworkInfo) -> np.ndarray:
    """Reads a file as the images were read that the network was evaluated on: (H, W, C) uint8.

    Raises:
      BadImage: it can't be read.
    """
    if not path.is_file():
        raise BadImage("a folder without an image" if path.is_dir() else "there is no such file")
    return fitted(open_image(path, at_least=least_side(info), value_range=info.value_range), info)


def least_side(info: NetworkInfo) -> int:
    """Returns how many pixels a photograph's shorter side must have to be no smaller than what is taken of it."""
    return math.ceil(min(info.image_shape[:2]) / info.crop)


def fitted(image: Image.Image, info: NetworkInfo) -> np.ndarray:
    """Returns an image cropped and resized to the network's shape: (H, W, C) uint8."""
    height, width, channels = info.image_shape
    return resize_crop(image, (height, width, channels), crop=info.crop, interpolation=info.interpolation)
