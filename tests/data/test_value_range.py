"""Gray values of more than 8 bits: one range for a whole set, the same for everything that reads files later."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import pixels
from PIL import Image

from fcnn.cli import main
from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig
from fcnn.data import Dataset, Streamed, load
from fcnn.data.decode import BadImage, lowest_highest, open_image, plain
from fcnn.inference.predict import load_classifier, predict
from fcnn.report import Console
from fcnn.training import evaluate, trainer

pytestmark = pytest.mark.usefixtures("data_folder")
GREY = pixels(0, 32, 32)[..., 0]


def stretched(seed: int) -> np.ndarray:
    """A gray image with several pixels of 0 and of 255, (32, 32) uint8."""
    image = pixels(seed, 32, 32)[..., 0].astype(float)
    low, high = np.percentile(image, [5, 95])
    return ((image - low) * 255 / (high - low)).clip(0, 255).astype(np.uint8)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def write_set(root: Path, change: Any, count: int = 6, ext: str = "png") -> None:
    """Writes `change(image)` for images of two classes; those of the one are half as bright."""
    for i in range(count):
        write(root / f"train/a/{i}.{ext}", change(stretched(i)))
        write(root / f"train/b/{i}.{ext}", change(stretched(100 + i) // 2))
    write(root / f"test/a/x.{ext}", change(stretched(200) // 3))
    write(root / f"test/b/x.{ext}", change(stretched(201) // 3))


def loaded(root: Path, **options: Any) -> Dataset:
    return load(DataConfig(name=f"folder:{root}", **{"image_size": 32, "val_fraction": 0.0, **options}))


def png(values: np.ndarray) -> io.BytesIO:
    """A PNG of 16 bits a channel, (H, W, C) uint16, which Pillow doesn't write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@given(st.integers(0, 2**16 - 2), st.integers(1, 2**16 - 1), st.integers(0, 10**6))
def test_values_are_mapped_linearly_rounded_and_clipped(low, width, seed):
    high = min(low + width, 2**16 - 1)
    values = np.random.default_rng(seed).integers(0, 2**16, (3, 5)).astype(np.uint16)
    values[0, :2] = low, high
    found = np.asarray(plain(Image.fromarray(values), (low, high))).astype(int)
    # In whole numbers: twice the error of a rounded quotient is at most the divisor.
    clipped = values.astype(int).clip(low, high) - low
    assert (abs(2 * (found * (high - low) - clipped * 255)) <= high - low).all()
    assert found[0, :2].tolist() == [0, 255]


def tiff(values: np.ndarray, order: str, bits: int = 16) -> io.BytesIO:
    """An uncompressed TIFF of unsigned gray values in either byte order."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, values.size * bits // 8)]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    end = 8 + values.size * bits // 8
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", end)
    data = values.astype(f"{order}u{bits // 8}").tobytes()
    return io.BytesIO(start + data + struct.pack(order + "H", len(tags)) + entries + bytes(4))


def files_of(values: np.ndarray) -> dict[str, io.BytesIO]:
    files = {"png": io.BytesIO(), "float tiff": io.BytesIO(), "32-bit tiff": io.BytesIO(), "lzw tiff": io.BytesIO()}
    Image.fromarray(values.astype(np.uint16)).save(files["png"], "PNG")
    Image.fromarray(values.astype(np.uint16)).save(files["lzw tiff"], "TIFF", compression="tiff_lzw")
    Image.fromarray(values.astype(np.float32)).save(files["float tiff"], "TIFF")
    Image.fromarray(values.astype(np.int32)).save(files["32-bit tiff"], "TIFF")
    header = f"P5\n{values.shape[1]} {values.shape[0]}\n4095\n".encode()
    files["pgm"] = io.BytesIO(header + values.astype(">u2").tobytes())
    return files | {"tiff <": tiff(values, "<"), "tiff >": tiff(values, ">")}


def test_every_kind_of_file_gives_the_values_that_stand_in_it():
    values = GREY.astype(int) * 16
    for name, file in files_of(values).items():
        assert np.array_equal(np.asarray(open_image(file, value_range=(0, 255 * 16))), GREY), name
        file.seek(0)
        with pytest.raises(BadImage, match="more than 8 bits"):
            open_image(file)


def test_no_infinite_value_and_no_wrapped_one():
    broken = GREY.astype(np.float32)
    broken[3, 3] = np.nan
    for refused in (lowest_highest, lambda image: plain(image, (0, 1))):
        with pytest.raises(BadImage, match="not finite"):
            refused(Image.fromarray(broken))
    unsigned = tiff(GREY.astype(np.int64) + 2**31, "<", bits=32)
    with pytest.raises(BadImage, match="2\\*\\*31"):
        open_image(unsigned, value_range=(0, 2**32))


def test_a_set_of_12_bits_has_the_pixels_of_the_same_set_in_8(tmp_path):
    write_set(tmp_path / "narrow", lambda image: image)
    write_set(tmp_path / "wide", lambda image: image.astype(np.uint16) * 16)
    narrow, wide = loaded(tmp_path / "narrow"), loaded(tmp_path / "wide")
    assert (narrow.value_range, wide.value_range) == (None, (0, 4080))
    for part in ("train", "test"):  # b stays half as bright as a: nothing is stretched for itself
        assert np.array_equal(getattr(wide, part).images, getattr(narrow, part).images)
    assert not narrow.notes
    (note,) = wide.notes
    assert note.startswith("gray values of more than 8 bits in 14 files: 0 to 4,080 become 0 to 255, measured over ")
    streamed = loaded(tmp_path / "wide", pipeline="stream")
    assert np.array_equal(streamed.train.images, wide.train.images)
    assert isinstance(streamed.train, Streamed)
    crops = streamed.train.read_crops(np.arange(12), 1.0, seed=0, epoch=0)
    assert crops.max() == 255


def test_floats_and_negative_values_are_measured_too(tmp_path):
    write_set(tmp_path / "narrow", lambda image: image)
    write_set(tmp_path / "wide", lambda image: image.astype(np.float32) / 255 - 1, ext="tif")
    wide = loaded(tmp_path / "wide")
    assert wide.value_range == (-1, 0)
    assert np.array_equal(wide.train.images, loaded(tmp_path / "narrow").train.images)


def test_defective_pixels_and_test_images_do_not_set_the_range(tmp_path):
    write_set(tmp_path, lambda image: image.astype(np.uint16) * 16)
    defective = stretched(3).astype(np.uint16) * 16
    defective[5, 5] = 65535
    write(tmp_path / "train/a/3.png", defective)
    write(tmp_path / "test/a/x.png", stretched(7).astype(np.uint16) * 100)
    found = loaded(tmp_path)
    assert found.value_range == (0, 4080)
    assert any("1 files have values outside of that range, which are clipped: test/a/x.png (0 to 25,500)" in note
               for note in found.notes)  # fmt: skip


def test_a_given_range_is_used_and_decoded_anew(tmp_path):
    root = tmp_path / "set"
    write_set(root, lambda image: image.astype(np.uint16) * 16)
    measured, given = loaded(root), loaded(root, value_range=(0, 2040))
    assert given.value_range == (0, 2040)
    assert np.array_equal(given.train.images, (measured.train.images.astype(int) * 2).clip(0, 255))
    assert "0 to 2,040 become 0 to 255, as declared" in given.notes[0]
    assert "clipped" in given.notes[1]


def test_what_is_doubtful_is_told(tmp_path):
    root = tmp_path / "set"
    write_set(root, lambda image: image.astype(np.uint16) * 16)
    write(root / "train/a/wide.png", stretched(50).astype(np.uint16) * 257)
    write(root / "train/b/narrow.png", stretched(51))
    notes = "\n".join(loaded(root).notes)
    assert "14 of 15 files use fewer than 32 of the 256 gray levels" in notes
    assert "(widest file: train/a/wide.png, 0 to 65,535)" in notes
    assert "1 gray files have 8 bits and stay as they are beside 15 with more" in notes
    (root / "train/b/color.png").write_bytes(png(pixels(1).astype(np.uint16) * 16).getvalue())
    assert "1 files have 16 bits a channel, in color or with transparency, and only the upper 8 are read" in "\n".join(
        loaded(root).notes
    )
    narrow = tmp_path / "narrow"
    write_set(narrow, lambda image: image)
    assert loaded(narrow, value_range=(0, 9)).notes == (
        "data.value-range has no effect: no gray file has more than 8 bits",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["folder:x", "--data.value-range", "5", "5"], "data.value-range must be two numbers, the lower one first"),
        (["digits", "--data.value-range", "0", "5"], "data.value-range has no effect with digits"),
    ],
)
def test_a_range_that_cannot_be_is_refused(options, words, capsys):
    assert main(["data", "show", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_run_and_all_that_comes_of_it_read_files_by_the_runs_range(tmp_path, capsys):
    root, run = tmp_path / "set", tmp_path / "run"
    write_set(root, lambda image: image.astype(np.uint16) * 16)
    train = TrainConfig(steps=8, batch_size=4, eval_batch_size=4)
    data = DataConfig(name=f"folder:{root}", image_size=8, val_fraction=0.0)
    tested = trainer.train(Config(data=data, model=ModelConfig(name="linear"), train=train), run, Console())
    assert "Note: gray values of more than 8 bits" in capsys.readouterr().out
    assert json.loads((run / "data.json").read_text())["value_range"] == [0, 4080]
    assert main(["export", str(run)]) == 0
    assert main(["export", str(run), "--format", "stablehlo", "--pixels"]) == 0
    beside = json.loads((run / "model.stablehlo.json").read_text())
    assert beside["about"]["value_range"] == [0, 4080]
    same = tmp_path / "same.png"
    write(same, stretched(200) // 3)
    answers = []
    for network in (run, run / "model.safetensors", run / "model.stablehlo"):
        info, logits = load_classifier(str(network))
        wide, narrow = predict(info, logits, [root / "test/a/x.png", same], top=2)
        answers.append(wide["top"])
        assert wide["top"] == narrow["top"]
    for answer in answers[1:]:
        assert [one["class"] for one in answer] == [one["class"] for one in answers[0]]
        probabilities = [[one["probability"] for one in found] for found in (answer, answers[0])]
        np.testing.assert_allclose(probabilities[0], probabilities[1], atol=1e-5)
    write(root / "train/a/brighter.png", stretched(9).astype(np.uint16) * 200)
    assert evaluate.evaluate(run, "test", Console())["loss"] == tested["loss"]


def test_a_network_of_8_bit_images_refuses_files_whose_range_it_cannot_know(tmp_path):
    write(tmp_path / "x.png", GREY.astype(np.uint16) * 16)
    info, logits = load_classifier("cifar10_resnet20")
    (answer,) = predict(info, logits, [tmp_path / "x.png"], top=1)
    assert "but the network was trained on 8 bits" in answer["error"]


def test_a_network_of_8_bit_images_is_evaluated_on_16_bits_by_the_range_of_the_set(tmp_path, capsys):
    for kind, change in {"narrow": lambda image: image, "wide": lambda image: image.astype(np.uint16) * 16}.items():
        for i in range(4):
            write(tmp_path / kind / f"{'cat' if i % 2 else 'dog'}/{i}.png", change(stretched(i)))

    def losses(*options: str) -> tuple[float, str]:
        assert main(["evaluate", "cifar10_resnet20", "--json", *options]) == 0
        found = capsys.readouterr()
        return json.loads(found.out)["loss"], found.err

    narrow, said = losses("--data.name", f"folder:{tmp_path / 'narrow'}")
    assert "Note" not in said
    wide, said = losses("--data.name", f"folder:{tmp_path / 'wide'}")
    assert wide == narrow
    assert "0 to 4,080 become 0 to 255, measured" in said
    given, said = losses("--data.name", f"folder:{tmp_path / 'wide'}", "--data.value-range", "0", "65535")
    assert given != narrow
    assert "fewer than 32 of the 256 gray levels" in said
