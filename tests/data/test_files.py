"""Files decoded while the network trains: the pixels of the other way to feed, and random crops of the originals."""

import io
import math

import numpy as np
import pytest
from images import pixels
from PIL import Image

from fcnn.config import DataConfig
from fcnn.data import Streamed, load
from fcnn.data.decode import crop_file
from fcnn.data.streamed import random_box
from fcnn.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("data_folder")


@pytest.fixture
def root(tmp_path):
    """30 JPEGs of many sizes in two classes."""
    folder = tmp_path / "set"
    for i in range(30):
        path = folder / f"{'ab'[i % 2]}/{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i, 60 + 5 * i, 200 - 4 * i)).save(path)
    return folder


def load_both(root, **options):
    config = {"name": f"folder:{root}", "image_size": 24, **options}
    return load(DataConfig(pipeline="device", **config)), load(DataConfig(pipeline="stream", **config))


def test_a_streamed_set_is_the_set(root):
    device, stream = load_both(root)
    assert isinstance(stream.train, Streamed)
    assert (device.pipeline, stream.pipeline) == ("device", "stream")
    for split in ("train", "validation", "test"):
        ours, reference = getattr(stream, split), getattr(device, split)
        assert len(ours) == len(reference) > 0
        assert ours.shape == reference.shape
        assert np.array_equal(ours.labels, reference.labels)
        assert np.array_equal(ours.images, reference.images)
        assert np.array_equal(ours.read(np.asarray([1, 0])), reference.images[[1, 0]])
    assert device.facts() | {"pipeline": ""} == stream.facts() | {"pipeline": ""}


def test_auto_streams_what_takes_more_than_a_quarter_of_the_memory(root, monkeypatch):
    size = 30 * 24 * 24 * 3
    for memory, pipeline in ((4 * size, "device"), (4 * size - 4, "stream")):
        monkeypatch.setattr("fcnn.data.streamed.device_memory", lambda memory=memory: memory)
        assert load(DataConfig(name=f"folder:{root}", image_size=24)).pipeline == pipeline


def test_a_second_start_decodes_nothing(root, monkeypatch):
    first = load_both(root)[1].mean_std()
    monkeypatch.setattr("fcnn.data.streamed.open_image", lambda *_, **__: pytest.fail("decoded again"))
    again = load(DataConfig(name=f"folder:{root}", image_size=24, pipeline="stream"))
    assert np.array_equal(again.mean_std(), first)


def test_crops_depend_on_seed_epoch_and_index_alone(root):
    train = load_both(root)[1].train
    assert isinstance(train, Streamed)
    some = train.read_crops(np.arange(8), 0.3, seed=1, epoch=2)
    other_batch = train.read_crops(np.asarray([20, 5, 3]), 0.3, seed=1, epoch=2)
    assert np.array_equal(some[[5, 3]], other_batch[1:])
    for seed, epoch in ((1, 3), (2, 2)):
        new = train.read_crops(np.arange(8), 0.3, seed=seed, epoch=epoch)
        assert all(not np.array_equal(a, b) for a, b in zip(some, new, strict=True))


@pytest.mark.parametrize(("width", "height", "least"), [(500, 375, 0.08), (300, 400, 0.5), (32, 32, 0.9)])
def test_boxes_are_drawn_as_published(width, height, least):
    boxes = np.asarray([random_box(width, height, least, np.random.default_rng([i])) for i in range(4000)])
    left, top, right, bottom = boxes.T
    assert (left.min(), top.min()) == (0, 0)
    assert (right.max(), bottom.max()) == (width, height)
    w, h = right - left, bottom - top
    share, ratio = w * h / (width * height), w / h
    slack = 1 + 2 / min(w.min(), h.min())  # sides are rounded to pixels
    assert least / slack <= share.min() <= least * 1.1
    assert 3 / 4 / slack <= ratio.min()
    assert ratio.max() <= 4 / 3 * slack
    fits = math.log(max(width / height, height / width) / least)  # a box of the least share is no longer than this
    assert abs(np.log(ratio)).max() > 0.9 * min(math.log(4 / 3), fits)
    # Of boxes that always fit, the share is uniform.
    if least < 0.5:
        small = share[share < 0.5]
        assert abs(np.mean(small) - (least + 0.5) / 2) < 0.015


def test_an_image_far_from_square_gives_its_middle():
    assert random_box(1000, 10, 0.9, np.random.default_rng(0)) == (493, 0, 506, 10)
    assert random_box(10, 1000, 0.9, np.random.default_rng(0)) == (0, 493, 10, 506)


def encode(image: np.ndarray, **options) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=98, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (100, 40, 500, 440), (600, 400, 640, 480)])
def test_a_cut_is_that_of_the_full_image_also_where_the_file_is_decoded_smaller(box, monkeypatch):
    image = pixels(3, 480, 640)
    sizes = []
    original = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *args: sizes.append(self.size) or original(self, *args))
    found = crop_file(encode(image), (64, 64, 3), lambda w, h: box)
    factor = 640 // sizes[0][0]
    assert factor == {640: 4, 400: 4, 40: 1}[box[2] - box[0]]  # 480 / 4 = 120, and 400 / 4 = 100, are at least 64
    expected = Image.fromarray(image).crop(box).resize((64, 64), Image.Resampling.BILINEAR)
    assert abs(found.astype(int) - np.asarray(expected)).mean() < 1.5


def test_boxes_are_of_the_upright_image():
    upright = pixels(4, 300, 200)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: to be turned clockwise
    lying = encode(np.rot90(upright).copy(), exif=exif)
    sizes = []
    found = crop_file(lying, (32, 32, 3), lambda w, h: sizes.append((w, h)) or (10, 20, 110, 120))
    assert sizes == [(200, 300)]
    expected = Image.fromarray(upright).crop((10, 20, 110, 120)).resize((32, 32), Image.Resampling.BILINEAR)
    assert abs(found.astype(int) - np.asarray(expected)).mean() < 1.5


def test_a_file_that_breaks_later_is_named(root):
    train = load_both(root)[1].train
    assert isinstance(train, Streamed)
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"a/\d+\.jpg can no longer be read: not an image"):
        train.read(np.arange(1))
    with pytest.raises(UserError, match="can no longer be read"):
        train.read_crops(np.arange(1), 0.5, seed=0, epoch=0)
