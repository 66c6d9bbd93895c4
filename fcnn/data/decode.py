"""From an image file to pixels: whatever Pillow opens, upright, as 8-bit grey or RGB, and cut to a square."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

with contextlib.suppress(ImportError):  # the extra "heif"
    import pillow_heif  # pyright: ignore[reportMissingImports]

    pillow_heif.register_heif_opener()
Image.init()  # fills its tables
# EPS is left out: Pillow hands it to Ghostscript, which runs a program that the file contains.
# They are tried in this order.
FORMATS = ("JPEG", "PNG", *sorted(set(Image.OPEN) - {"JPEG", "PNG", "EPS"}))
# MPO is a JPEG file with several images in it: Pillow opens it as JPEG and then calls it so.
EXTENSIONS = {ext: format for ext, format in Image.registered_extensions().items() if format in {*FORMATS, "MPO"}}
# Images by their name wherever they can't be read, so that they are an error and not overlooked.
EXTENSIONS |= {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".avif": "AVIF"}
MAX_PIXELS = 100_000_000
"""An image with more is taken for a decompression bomb: a small file that unpacks to gigabytes."""

GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I"})
_WIDE = {"I;16", "I;16L", "I;16B", "I;16N", "I"}

# What each EXIF orientation (Exif 2.32, tag 0x0112) wants done to make the image upright.
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {_TURN[orientation] for orientation in (5, 6, 7, 8)}


class BadImage(Exception):
    """The file can't be used; the message says why, in a few words."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences Pillow's warnings about odd files: what can't be read is an error of its own."""
    with warnings.catch_warnings():  # for the whole process: enter it once, around the threads, not inside them
        warnings.filterwarnings("ignore", module="PIL")
        yield


def open_image(source: Path | IO[bytes], *, at_least: int | None = None) -> Image.Image:
    """Opens, decodes and straightens an image.

    Args:
      source: a file.
      at_least: the result may be smaller than the file's image, but neither side below this: a JPEG is then decoded at
        a half, a quarter or an eighth, which is faster.

    Returns:
      An image of mode "L" (1-bit, grey and 16-bit grey files) or "RGB". Transparency is laid on white, 16-bit grey
      keeps its upper byte, animations give their first frame.

    Raises:
      BadImage: nothing that Pillow can decode, cut short, or too large to be meant.
    """
    with _bad_image(source), Image.open(source, formats=FORMATS) as image:
        _check_size(image)
        if at_least is not None:
            image.draft(image.mode, (at_least, at_least))
        image.load()
        return plain(_upright(image))


def header(source: Path | IO[bytes]) -> tuple[str, int, int, bool]:
    """What a file says of itself, before any pixel is decoded: (format, width, height, whether it is grey).

    Raises:
      BadImage: as for `open_image`.
    """
    with _bad_image(source), Image.open(source, formats=FORMATS) as image:
        _check_size(image)
        return image.format or "", image.width, image.height, image.mode in GREY_MODES


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"a decompression bomb: {image.width} x {image.height} pixels")


@contextlib.contextmanager
def _bad_image(source: Path | IO[bytes]) -> Iterator[None]:
    """Whatever a decoder raises, as a `BadImage`."""
    try:
        yield
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage("a decompression bomb") from None
    except Image.UnidentifiedImageError:
        raise BadImage(_unreadable(source)) from None
    except Exception as error:  # decoders raise anything at all on a damaged file
        words = str(error).splitlines() or [type(error).__name__]
        raise BadImage(f"damaged: {words[0]}") from None


def _unreadable(source: Path | IO[bytes]) -> str:
    """What a file is that Pillow doesn't know, and what to do about it."""
    if isinstance(source, Path):
        start = source.read_bytes()[:12]
    else:
        source.seek(0)
        start = source.read(12)
    kind = start[8:12] if start[4:8] == b"ftyp" else b""  # ISO 14496-12, section 4.3
    if kind in (b"avif", b"avis"):
        return "AVIF, which this version of Pillow can't read: pip install --upgrade pillow"
    if kind in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "HEIC, which Pillow can't read: pip install 'fcnn[heif]', or convert it to JPEG"
    return "not an image that Pillow can read"


def _upright(image: Image.Image) -> Image.Image:
    """As the camera was held: the EXIF orientation applied."""
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What the EXIF orientation wants done, if anything."""
    try:
        return _TURN.get(image.getexif().get(0x0112, 1))
    except Exception:  # EXIF data is as damaged as files are, and the image may be fine
        return None


def plain(image: Image.Image) -> Image.Image:
    """An image of any mode as "L" or "RGB", 8 bits a channel."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in _WIDE:
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadImage("grey values beyond 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise BadImage("floating-point pixels, whose range is unknown")
    kind = "L" if image.mode in GREY_MODES else "RGB"
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert(kind)
    return image.convert(kind)


def square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """The middle square of an image whose shorter side is resized to `size`: (size, size, channels) uint8."""
    return fitted(image, (size, size, channels))


def fitted(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """The largest part in the middle of an image that has the ratio of `shape`, (H, W, C), resized to it: uint8.

    With filtering against aliasing (bilinear over the area that a pixel covers).
    """
    height, width, channels = shape
    image = image.convert("RGB" if channels == 3 else "L")
    cut = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(cut).reshape(shape)


def cut_square(
    source: Path | IO[bytes], size: int, channels: int, choose: Callable[[int, int], tuple[int, int, int, int]]
) -> np.ndarray:
    """A box of an image file, resized: (size, size, channels) uint8; filtered as in `square`.

    Args:
      source: a file.
      size, channels: of the result.
      choose: (width, height) of the upright image -> the box (left, top, right, bottom), in its pixels.

    Raises:
      BadImage: as for `open_image`.
    """
    with _bad_image(source), Image.open(source, formats=FORMATS) as file:
        _check_size(file)
        lies = _turn(file) in _ON_ITS_SIDE
        width, height = (file.height, file.width) if lies else (file.width, file.height)
        box = choose(width, height)
        # A JPEG may be decoded smaller, as long as the box keeps as many pixels as it is to have.
        across, down = math.ceil(width * size / (box[2] - box[0])), math.ceil(height * size / (box[3] - box[1]))
        file.draft(file.mode, (down, across) if lies else (across, down))
        file.load()
        image = plain(_upright(file)).convert("RGB" if channels == 3 else "L")
    x, y = image.width / width, image.height / height
    scaled = box[0] * x, box[1] * y, box[2] * x, box[3] * y
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, scaled)).reshape(size, size, channels)
