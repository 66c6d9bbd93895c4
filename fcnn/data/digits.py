"""The embedded data set: 1,797 handwritten digits that ship inside scikit-learn, as a TFDS builder.

Real scans, 8x8 pixels, small enough to learn in seconds and there without a network. Nothing here needs TensorFlow:
the images are handed over as PNG files, and array_record is written and read without it.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


class Digits(tfds.core.GeneratorBasedBuilder):
    """Optical recognition of handwritten digits (Alpaydin and Kaynak 1998), the 1,797 test images of the UCI set.

    The set comes without a split. Ours is fixed and has no randomness in it: of the images sorted by class, in
    scikit-learn's order within a class, the 1st, 6th, 11th, ... are the test split: 360 images, and 1,437 for
    training, every class in proportion. Gray levels 0..16 become 0..255.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="1,797 handwritten digits of 8x8 pixels, from scikit-learn's load_digits.",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples("train"), "test": self._generate_examples("test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        from sklearn.datasets import load_digits  # a second of import that only the preparation needs

        digits: Any = load_digits()
        order = np.argsort(digits.target, kind="stable")
        test = np.zeros(len(order), bool)
        test[order[::5]] = True
        for i in np.flatnonzero(test if split == "test" else ~test):
            pixels = np.round(digits.images[i] * (255 / 16)).astype(np.uint8)
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            png.seek(0)
            yield int(i), {"image": png, "label": int(digits.target[i])}
