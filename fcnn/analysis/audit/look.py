"""Every image read once: a network's features of it, and how sharp and bright it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnn.data.decode import BadImage, ValueRange, ignore_warnings, open_image
from fcnn.data.parallel import Progress, each, no_progress
from fcnn.data.quality import SIDE, Quality, measure_quality
from fcnn.inference.predict import fitted, least_side, normalized
from fcnn.models import endpoints, logits_and_features
from fcnn.utils.errors import UserError
from fcnn.weights import Network, NetworkInfo

BATCH = 32
"""Images at once."""


def look_at(
    paths: Sequence[Path], network: Network, value_range: ValueRange | None, progress: Progress
) -> tuple[np.ndarray, list[Quality], np.ndarray]:
    """Reads images and computes their features, the activations before the head.

    Args:
      paths: files that could be read a moment ago.
      value_range: as for `fcnn.data.decode.open_image`.

    Returns:
      (features (M, D) float32, the quality of each, the indices (M,) int of their files: those that can still be read).

    Raises:
      UserError: the network has no endpoint before its head.
    """
    info, model = network.info, network.create()
    height, width, channels = info.image_shape
    places = endpoints(model, (height, width, channels))
    if not places:
        raise UserError(f"{info.name} has no features before its head; take another network")

    def features(variables: Any, images: jax.Array) -> jax.Array:
        return logits_and_features(model, variables, normalized(info, images), places[-1].name)[1]

    compute, variables = jax.jit(features), jax.device_put(dict(network.variables))
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    results, qualities, readable = [], [], []
    for batch in progress(batches, "computing features", len(batches)):
        with ignore_warnings():
            read = each(lambda path: _read(path, info, value_range), batch, "reading", no_progress)
        present = [content for content in read if content is not None]
        images = np.zeros((BATCH, *info.image_shape), np.uint8)  # always so many: one program
        for i, (image, _) in enumerate(present):
            images[i] = image
        qualities += [quality for _, quality in present]
        readable += [content is not None for content in read]
        results.append(np.asarray(compute(variables, images))[: len(present)])
    return np.concatenate(results), qualities, np.flatnonzero(readable)


def _read(path: Path, info: NetworkInfo, value_range: ValueRange | None) -> tuple[np.ndarray, Quality] | None:
    """Returns an image as the network takes it, (H, W, C) uint8, and its quality; None if it can't be read."""
    try:
        image = open_image(path, at_least=max(least_side(info), SIDE), value_range=value_range)
    except (BadImage, OSError):
        return None
    return fitted(image, info), measure_quality(image)
