"""The named sets as TFDS builders that need no TensorFlow: PNG files in array_record, in the published order."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fcnn.data.formats import Arrays
from fcnn.data.obtain import obtain
from fcnn.data.official import SETS, OfficialSet


def _example(image: np.ndarray, label: int) -> dict[str, Any]:
    """Returns an image (H, W) or (H, W, C) uint8 and its label as TFDS writes them without TensorFlow."""
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG")
    png.seek(0)
    return {"image": png, "label": int(label)}


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 handwritten digits of 8 x 8 pixels that ship inside scikit-learn (Alpaydin and Kaynak 1998).

    They come without a split. Ours is fixed and has no randomness in it: of the images sorted by class, in
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
            yield int(i), _example(pixels, digits.target[i])


class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A published set. `arrays`, verified images and labels by split, are downloaded if they aren't set."""

    VERSION = tfds.core.Version("1.0.0")
    OFFICIAL: OfficialSet
    arrays: dict[str, Arrays] | None = None

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.OFFICIAL.title,
            homepage=self.OFFICIAL.homepage,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=self.OFFICIAL.shape, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(self.OFFICIAL.classes)),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        splits = self.arrays or obtain(self.OFFICIAL, None, print)
        return {split: self._generate_examples(arrays) for split, arrays in splits.items()}

    def _generate_examples(self, arrays: Arrays) -> Iterator[tuple[int, dict]]:
        for i, (image, label) in enumerate(zip(*arrays, strict=True)):
            yield i, _example(image.squeeze(), label)


def _builder(official: OfficialSet) -> type[Official]:
    """Returns the builder of a set, `FcnnMnist`: TFDS has builders under the plain names."""
    name = f"Fcnn{official.name.title().replace('_', '')}"
    return type(name, (Official,), {"__doc__": official.title, "__module__": __name__, "OFFICIAL": official})


BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    "digits": Digits,
    **{name: _builder(official) for name, official in SETS.items()},
}
