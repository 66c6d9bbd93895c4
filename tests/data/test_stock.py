"""Sets by TFDS's name: one's own builder, a stock one prepared elsewhere, and what can't be used."""

import importlib.util
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fcnn.config import DataConfig
from fcnn.data import load
from fcnn.data.stock import _user_fault
from fcnn.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("data_folder")

MODULE = '''
"""Someone else's builder."""
import io
import tensorflow_datasets as tfds
from PIL import Image


class {name}(tfds.core.GeneratorBasedBuilder):
    """A few images."""
    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = tfds.features.FeaturesDict({features})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {{split: self._generate_examples(count) for split, count in {splits}.items()}}

    def _generate_examples(self, count):
        for i in range(count):
            png = io.BytesIO()
            Image.new("RGB", ({width}, 12), (i, 2 * i, 0)).save(png, "PNG")
            png.seek(0)
            yield i, {{"photo": png, "kind": i % 2, "id": str(i)}}
'''
FEATURES = """{
    "photo": tfds.features.Image(shape=(12, None, 3)), "kind": tfds.features.ClassLabel(names=["even", "odd"]),
    "id": tfds.features.Text(),
}"""


@pytest.fixture
def someone(tmp_path, monkeypatch):
    """Writes a module with a builder into the current folder; each test needs a class name of its own."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, *, features=FEATURES, splits=None, width="12") -> str:
        splits = splits or {"train": 10, "test": 4}
        text = MODULE.format(name=name, features=features, splits=splits, width=width)
        (tmp_path / f"module_of_{name.lower()}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        snake = re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
        return f"tfds:module_of_{name.lower()}.{snake}"

    return write


def load_fixed(name: str, **options):
    return load(DataConfig(name=name, **{"val_fraction": 0.0, **options}))


def test_a_builder_of_ones_own_is_prepared_read_and_known_from_then_on(someone, data_folder):
    spec = someone("Mine", features=FEATURES.replace("None", "12"))
    found = load_fixed(spec)
    assert found.classes == ("even", "odd")
    assert (len(found.train), len(found.test)) == (10, 4)
    assert found.train.images[:, 0, 0].tolist() == [[i, 2 * i, 0] for i in range(10)]
    assert found.train.labels.tolist() == [0, 1] * 5
    assert list(data_folder.glob("mine/1.2.0/*.array_record*"))
    assert np.array_equal(load_fixed("tfds:mine").train.images, found.train.images)
    assert np.array_equal(load_fixed("tfds:mine:1.2.0").train.images, found.train.images)
    assert not [path for path in sys.path if path == str(data_folder.parent)]
    smaller = load_fixed("tfds:mine", image_size=6)
    assert smaller.train.images.shape == (10, 6, 6, 3)
    with pytest.raises(UserError, match=r"tfds:mine:9\.9\.9: "):
        load_fixed("tfds:mine:9.9.9")


def test_images_of_several_sizes_need_one(someone):
    spec = someone("Varied", width="12 + i")
    with pytest.raises(UserError, match=r"vary in size: give --data\.image-size"):
        load_fixed(spec)
    assert load_fixed(spec, image_size=8).train.images.shape == (10, 8, 8, 3)


def test_splits_that_are_missing_are_held_out(someone):
    found = load_fixed(someone("TrainAlone", splits={"train": 10}), image_size=4, test_fraction=0.4)
    assert (len(found.train), len(found.test)) == (6, 4)
    found = load_fixed(someone("WithValidation", splits={"train": 10, "validation": 6}), image_size=4, val_fraction=0.2)
    assert (len(found.train), len(found.validation), len(found.test)) == (8, 2, 6)
    three = {"train": 10, "validation": 6, "test": 2}
    found = load_fixed(someone("AllThree", splits=three), image_size=4, val_fraction=0.2)
    assert (len(found.train), len(found.validation), len(found.test)) == (10, 6, 2)
    with pytest.raises(UserError, match="no train split"):
        load_fixed(someone("TestAlone", splits={"test": 10}), image_size=4)


def test_what_is_no_set_of_labelled_images_is_refused(someone):
    unlabelled = """{
        "photo": tfds.features.Image(), "kind": tfds.features.Scalar(__import__("numpy").int64),
        "id": tfds.features.Text(),
    }"""
    with pytest.raises(UserError, match="not a set of images with a class each; its features are"):
        load_fixed(someone("Unlabelled", features=unlabelled))


def test_a_name_that_is_not_there_is_answered_with_near_ones(someone):
    with pytest.raises(UserError, match="unknown TFDS set 'mnst'; did you mean mnist"):
        load_fixed("tfds:mnst")
    with pytest.raises(UserError, match="No module named 'no_such_module'"):
        load_fixed("tfds:no_such_module.mine")
    someone("Other")
    with pytest.raises(UserError, match="module_of_other defines no TFDS builder 'another'"):
        load_fixed("tfds:module_of_other.another")


def test_a_stock_set_prepared_elsewhere_is_read_without_tensorflow(monkeypatch, data_folder):
    """TFDS's own `cifar10`; where it was prepared, TensorFlow encoded the images, here Pillow does."""
    import io

    from PIL import Image

    def examples(count):
        for i in range(count):
            png = io.BytesIO()
            Image.new("RGB", (32, 32), (i, 0, 9)).save(png, "PNG")
            png.seek(0)
            yield i, {"id": str(i), "image": png, "label": i % 10}

    stock = tfds.builder_cls("cifar10")
    monkeypatch.setattr(stock, "_split_generators", lambda *_: {"train": examples(20), "test": examples(10)})
    stock(data_dir=data_folder).download_and_prepare(file_format="array_record")
    monkeypatch.undo()
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_folder))
    found = load_fixed("tfds:cifar10")
    assert (len(found.train), len(found.test), len(found.classes)) == (20, 10, 10)
    assert sorted(found.train.images[:, 0, 0, 0].tolist()) == list(range(20))
    assert (found.train.images[:, 0, 0, 0] % 10 == found.train.labels).all()


def test_a_stock_set_that_needs_tensorflow_names_the_extra(monkeypatch, data_folder, tmp_path):
    import zipfile

    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is here")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("horses/1.png", b"")
    given = str(tmp_path / "archive.zip")
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda *_: [given, given])
    with pytest.raises(UserError, match=r"needs TensorFlow to prepare it .*pip install -e '\.\[tensorflow\]'"):
        load_fixed("tfds:horses_or_humans")
    assert not list(data_folder.glob("horses_or_humans/3*"))


def test_a_disk_that_fails_is_named():
    """The writer of array_records is in C++ and raises RuntimeError; what Python wrote to has no name in its error."""
    error = RuntimeError("Failed to finalize: write() failed: Disk quota exceeded; writing a/b.array_record-00000-of-1")
    assert "Disk quota exceeded; writing a/b" in (_user_fault(error, Path("a")) or "")
    assert (_user_fault(OSError(28, "No space left"), Path("a/b")) or "").startswith("a/b: No space left")
