"""Decoding: each kind of file that Pillow opens gives the pixels that a person would see."""

import contextlib
import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from images import pixels
from PIL import Image

from fcnn.data import decode, parallel
from fcnn.data.decode import (
    EXTENSIONS,
    FORMATS,
    BadImage,
    header,
    ignore_warnings,
    lowest_highest,
    open_image,
    open_stored,
    plain,
    resize_crop,
)

RGB = pixels(0)
GREY = RGB[..., 0]


def encoded(image: Image.Image, format: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def opened(image: Image.Image, format: str = "PNG", **options) -> np.ndarray:
    return np.asarray(open_image(encoded(image, format, **options)))


def test_modes_become_8_bit_gray_or_rgb():
    assert np.array_equal(opened(Image.fromarray(RGB)), RGB)
    assert np.array_equal(opened(Image.fromarray(GREY)), GREY)
    black_and_white = Image.fromarray(GREY).convert("1")
    assert np.array_equal(opened(black_and_white), np.asarray(black_and_white) * np.uint8(255))
    palette = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(opened(palette), np.asarray(palette.convert("RGB")))
    cmyk = Image.fromarray(RGB).convert("CMYK")
    assert abs(opened(cmyk, "TIFF").astype(int) - RGB).max() <= 2
    assert opened(Image.fromarray(RGB).convert("YCbCr"), "JPEG").shape == RGB.shape


@pytest.mark.parametrize("mode", ["1", "LA", "P", "PA", "RGBA", "CMYK", "I", "F", "I;16"])
def test_strips_make_no_difference(mode, monkeypatch):
    image = Image.fromarray(RGB).quantize(16) if mode in ("P", "PA") else Image.fromarray(GREY).convert(mode)
    if mode == "P":
        image.info["transparency"] = bytes(range(100, 116))
    ends, value_range = lowest_highest(image), (3, 200)
    whole = np.asarray(plain(image, value_range))
    monkeypatch.setattr(decode, "STRIP", 5 * image.width)
    assert np.array_equal(np.asarray(plain(image, value_range)), whole)
    assert lowest_highest(image) == ends


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_gray_becomes_color_before_or_after_it_is_small(interpolation):
    gray = Image.fromarray(GREY)
    before, after = (
        resize_crop(image, (7, 9, 3), crop=0.8, interpolation=interpolation) for image in (gray.convert("RGB"), gray)
    )
    assert np.array_equal(before, after)


def test_large_images_are_decoded_one_at_a_time_and_others_side_by_side(monkeypatch):
    """Two threads meet with small images, and never with large ones."""
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    file = encoded(Image.fromarray(RGB), "PNG").getvalue()

    def meet(_: int) -> bool:
        open_image(io.BytesIO(file))
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.2)
            return True
        return False

    together = threading.Barrier(2)
    assert all(parallel.each(meet, range(2), "", parallel.no_progress))
    monkeypatch.setattr(decode, "LARGE", 100)
    assert not any(parallel.each(meet, range(2), "", parallel.no_progress))
    open_image(io.BytesIO(file))  # and outside of such work nobody waits for anybody
    open_image(io.BytesIO(file))


def test_transparency_is_laid_on_white():
    alpha = np.where(np.arange(32) < 16, 0, 255).astype(np.uint8) * np.ones((24, 1), np.uint8)
    found = opened(Image.fromarray(np.dstack([RGB, alpha])))
    assert (found[:, :16] == 255).all()
    assert np.array_equal(found[:, 16:], RGB[:, 16:])
    gray = opened(Image.fromarray(np.dstack([GREY, alpha]), "LA"))
    assert gray.ndim == 2
    assert (gray[:, :16] == 255).all()
    keyed = Image.fromarray(RGB).quantize(8)
    found = opened(keyed, transparency=0)
    assert (found[np.asarray(keyed) == 0] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [RGB, GREY, GREY.astype(np.uint16) * 257], ids=["RGB", "L", "I;16"])
def test_every_exif_orientation_comes_out_upright(orientation, upright):
    # What a camera would have stored, so that the tag's reading of it gives `upright` again (Exif 2.32).
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(np.asarray(open_stored(file)), upright)


def test_damaged_exif_data_leaves_a_good_image_good():
    file = encoded(Image.fromarray(RGB), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    with ignore_warnings():
        assert np.asarray(open_image(file)).shape == RGB.shape


def png_saying(width: int, height: int) -> io.BytesIO:
    """A small file that says it is a large image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(width + 1) * 100)
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), chunk(b"IDAT", rows)]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))


def test_bombs_are_refused_before_they_are_decoded():
    with ignore_warnings():
        for side in (10_001, 60_000):
            for read in (open_image, header):
                with pytest.raises(BadImage, match="decompression bomb"):
                    read(png_saying(side, side))


def test_what_pillow_decodes_in_python_is_smaller(monkeypatch):
    qoi = encoded(Image.fromarray(RGB), "QOI")
    assert np.array_equal(np.asarray(open_image(qoi)), RGB)
    monkeypatch.setattr(decode, "MAX_SLOW_PIXELS", 700)
    for read in (open_image, header):
        with pytest.raises(BadImage, match="32 x 24 pixels of QOI take minutes; convert it to PNG"):
            read(qoi)
    assert open_image(encoded(Image.fromarray(RGB), "PNG")).size == (32, 24)


def test_what_is_damaged_is_a_bad_image():
    png, jpeg = (encoded(Image.fromarray(pixels(1, 200, 200)), f).getvalue() for f in ("PNG", "JPEG"))
    for data in (b"", b"hello", png[:200], jpeg[: len(jpeg) // 2], jpeg[:30], b"GIF89a" + bytes(20), b"BM" + bytes(60)):
        with pytest.raises(BadImage), ignore_warnings():
            open_image(io.BytesIO(data))
    rng = np.random.default_rng(0)
    for data in (png, jpeg):  # whatever is done to a file, it is read or it is a BadImage
        for _ in range(150):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                damaged[place] = rng.integers(256)
            with ignore_warnings(), contextlib.suppress(BadImage):
                open_image(io.BytesIO(damaged))


def test_postscript_is_not_run():
    assert "EPS" not in FORMATS
    assert ".eps" not in EXTENSIONS
    assert {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"} <= set(EXTENSIONS)
    program = io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nquit\n")
    with pytest.raises(BadImage, match="not an image"):
        open_image(program)


def test_warnings_of_pillow_are_silenced_inside_and_no_others():
    def warn(module):
        warnings.warn_explicit("odd", UserWarning, "file.py", 1, module)

    with ignore_warnings():
        warn("PIL.TiffImagePlugin")
        with pytest.warns(UserWarning, match="odd"):
            warn("mine")
    with pytest.warns(UserWarning, match="odd"):
        warn("PIL.TiffImagePlugin")


def test_a_large_jpeg_is_decoded_smaller_but_not_too_small():
    large = encoded(Image.fromarray(pixels(2, 480, 640)), "JPEG", quality=95)
    assert open_image(large, at_least=100).size == (160, 120)
    assert open_image(large).size == (640, 480)
    whole = resize_crop(open_image(large), (64, 64, 3)).astype(int)
    assert abs(whole - resize_crop(open_image(large, at_least=64), (64, 64, 3))).mean() < 2


def test_a_square_is_the_middle_of_the_image():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = RGB[:20, :20]
    assert np.array_equal(resize_crop(Image.fromarray(wide), (20, 20, 3)), RGB[:20, :20])
    assert np.array_equal(
        resize_crop(Image.fromarray(wide.swapaxes(0, 1).copy()), (20, 20, 3)), RGB[:20, :20].swapaxes(0, 1)
    )
    up = resize_crop(Image.fromarray(RGB), (48, 48, 1))
    assert up.shape == (48, 48, 1)
    assert up.dtype == np.uint8
    # A thumbnail is an average: no single white pixel out of many survives as white (aliasing).
    dots = np.zeros((128, 128, 3), np.uint8)
    dots[::8, ::8] = 255
    assert resize_crop(Image.fromarray(dots), (16, 16, 3)).max() < 30
