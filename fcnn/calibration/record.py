"""What a network keeps of its calibration: plain values, which a file's header can hold."""

import base64
import dataclasses
import math

import numpy as np

from fcnn.calibration.conformal import PERCENT, conformal_thresholds
from fcnn.calibration.temperature import fit_temperature, softmax

LEAST_IMAGES = 100
"""Held-out images without which nothing is calibrated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """What is known from held-out images; with the defaults, nothing."""

    images: int = 0
    """How many there were."""
    temperature: float = 1.0
    """What logits are divided by before the softmax."""
    thresholds: tuple[float, ...] = ()
    """Of the sets with a coverage of 50 %, 51 %, ... (`conformal_thresholds`), as far as the images go."""
    class_means: str = ""
    """The directions of the classes' features (`fcnn.calibration.unknown`), float16 (classes, D), little-endian, in
    base64; "" without."""
    least_similarity: float | None = None
    """To the nearest class; an image below it is of none of them."""
    endpoint: str = ""
    """Where the network has these features (`fcnn.models.endpoints`), averaged over space."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"calibration.temperature must be above 0, got {self.temperature}")
        if len(self.thresholds) > len(PERCENT) or not all(0 <= value <= 1 for value in self.thresholds):
            raise ValueError("calibration.thresholds must be probabilities")
        if self.images < 0 or (self.least_similarity is not None and not -1.001 <= self.least_similarity <= 1.001):
            raise ValueError("calibration.images and calibration.least_similarity are impossible")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Computes calibrated probabilities, (N, classes) float32."""
        return softmax(logits, self.temperature)

    def means(self, num_classes: int) -> np.ndarray | None:
        """Returns the directions of the classes, (classes, D) float32; None if there are none.

        Raises:
          ValueError: they are damaged.
        """
        if not self.class_means or self.least_similarity is None:
            return None
        try:
            values = np.frombuffer(base64.b64decode(self.class_means, validate=True), "<f2").astype(np.float32)
            if not np.isfinite(values).all():
                raise ValueError
            return values.reshape(num_classes, -1)
        except ValueError:
            raise ValueError("calibration.class_means are damaged") from None

    def with_means(self, means: np.ndarray, least_similarity: float, endpoint: str) -> "Calibration":
        """Returns the calibration with the directions of the classes, (classes, D), and where the features are."""
        text = base64.b64encode(means.astype("<f2").tobytes()).decode()
        return dataclasses.replace(self, class_means=text, least_similarity=least_similarity, endpoint=endpoint)


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Returns temperature and thresholds of sets from held-out images.

    Args:
      logits: (N, classes).
      labels: (N,) int.
    """
    temperature = fit_temperature(logits, labels)
    thresholds = conformal_thresholds(softmax(logits, temperature), labels)
    return Calibration(images=len(labels), temperature=temperature, thresholds=thresholds)
