"""The published sets as TFDS builders that need no TensorFlow: PNG files in array_record, in the published order."""

import io
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from fcnn.data.formats import Arrays
from fcnn.data.obtain import obtain
from fcnn.data.official import CIFAR10, CIFAR100, FASHION_MNIST, MNIST, OfficialSet


class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the four have in common.

    Args:
      splits: images and labels, verified; None to download them.
      options: of every TFDS builder.
    """

    VERSION = tfds.core.Version("1.0.0")
    OFFICIAL: OfficialSet

    def __init__(self, *, splits: dict[str, Arrays] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._given = splits

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
        splits = self._given or obtain(self.OFFICIAL, None, print)
        return {split: self._generate_examples(arrays) for split, arrays in splits.items()}

    def _generate_examples(self, arrays: Arrays) -> Iterator[tuple[int, dict]]:
        for i, (image, label) in enumerate(zip(*arrays, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image.squeeze()).save(png, "PNG")
            png.seek(0)
            yield i, {"image": png, "label": int(label)}


# Not under the stock sets' names, which TFDS knows already.


class FcnnMnist(Official):
    """MNIST."""

    OFFICIAL = MNIST


class FcnnFashionMnist(Official):
    """Fashion-MNIST."""

    OFFICIAL = FASHION_MNIST


class FcnnCifar10(Official):
    """CIFAR-10."""

    OFFICIAL = CIFAR10


class FcnnCifar100(Official):
    """CIFAR-100, with its 100 fine labels."""

    OFFICIAL = CIFAR100


TABLE: dict[str, type[Official]] = {
    "mnist": FcnnMnist,
    "fashion_mnist": FcnnFashionMnist,
    "cifar10": FcnnCifar10,
    "cifar100": FcnnCifar100,
}
