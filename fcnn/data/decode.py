"""From an image file to pixels: whatever Pillow opens, upright, as 8-bit gray or RGB, cropped to a shape."""

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from fcnn.config.names import Interpolation
from fcnn.data.parallel import take_turn
from fcnn.utils.errors import install

with contextlib.suppress(ImportError):  # the extra "heif"
    import pillow_heif  # pyright: ignore[reportMissingImports]

    pillow_heif.register_heif_opener()
Image.init()  # fills its tables
# Tried in this order. Without EPS: Pillow hands it to Ghostscript, which runs a program that the file contains.
FORMATS = ("JPEG", "PNG", *sorted(set(Image.OPEN) - {"JPEG", "PNG", "EPS"}))
# MPO is a JPEG file with several images in it: Pillow opens it as JPEG and then calls it so.
EXTENSIONS = {ext: format for ext, format in Image.registered_extensions().items() if format in {*FORMATS, "MPO"}}
# Images by their name wherever they can't be read, so that they are an error and not overlooked.
EXTENSIONS |= {".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".avif": "AVIF"}
LARGE = 16_000_000
"""Pixels from which on one image is decoded at a time, whatever the number of threads."""
MAX_PIXELS = 100_000_000
"""An image with more is refused as a decompression bomb: a small file that unpacks to gigabytes."""
MAX_SLOW_PIXELS = 10_000_000
"""The same for the formats that Pillow decodes in Python, a pixel at a time."""
_WIDE = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
"""Gray values of more than 8 bits, integers or floats; no file says which of them are black and white."""
GRAY_MODES = frozenset({"1", "L", "LA", "La"}) | _WIDE
STRIP = 1 << 21
"""Pixels that are converted at once: what a conversion needs beside an image and its result is a strip's."""
TRIMMED = 1000
"""A file's lowest and highest values are those without one pixel of so many at either end: defective pixels."""

ValueRange = tuple[float, float]
"""The gray values of more than 8 bits that become 0 and 255."""


class BadImage(Exception):
    """The file can't be used; the message says why, in a few words."""


@contextlib.contextmanager
def ignore_warnings() -> Iterator[None]:
    """Silences Pillow's warnings about odd files; what can't be read is an error of its own."""
    with warnings.catch_warnings():  # for the whole process: enter it once, around the threads, not inside them
        warnings.filterwarnings("ignore", module="PIL")
        yield


def open_image(
    source: Path | IO[bytes], *, at_least: int | None = None, value_range: ValueRange | None = None
) -> Image.Image:
    """Opens and decodes an image, upright.

    Args:
      source: a file.
      at_least: both sides may be decoded smaller than they are, but not below this: a JPEG is then read at a half, a
        quarter or an eighth, which is faster.
      value_range: of gray values of more than 8 bits; None where there are none.

    Returns:
      An image of mode "L" (1-bit and gray files) or "RGB". Transparent pixels become white; of an animation, the first
      frame.

    Raises:
      BadImage: Pillow can't decode it, it is cut short or too large, or its gray values have more than 8 bits and no
        range is passed.
    """
    return plain(open_stored(source, at_least=at_least), value_range)


def open_stored(source: Path | IO[bytes], *, at_least: int | None = None) -> Image.Image:
    """As `open_image`, in the mode and with the values that the file has."""
    with _bad_image(source), Image.open(source, formats=FORMATS) as image:
        _check_size(image)
        if at_least is not None:
            image.draft(image.mode, (at_least, at_least))
        return _load(image)


def _load(image: Image.Image) -> Image.Image:
    """Decodes an open file's image, upright, with the values that are in the file."""
    if image.width * image.height > LARGE:
        take_turn()
    stored = next((tile[3] for tile in getattr(image, "tile", ())), None)
    image.load()
    if image.mode == "I" and image.format == "PPM" and isinstance(stored, tuple):  # Pillow stretches them to 16 bits
        scale = stored[-1] / 0xFFFF
        image = _by_strips(image, "I", lambda part: _map(part, lambda values: np.rint(values * scale), np.int32))
    if image.mode == "I" and "I;32N" in str(stored) and np.min(image.getextrema()) < 0:  # unsigned, read as signed
        raise BadImage("gray values of 2**31 or more")
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8 (Exif 2.32, tag 0x0112)."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF data is as damaged as files are, and the image may be fine
        return 1


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file states before any pixel is decoded."""

    format: str
    width: int
    height: int
    gray: bool
    truncated: bool
    """Whether it has 16 bits a channel, of which Pillow reads the upper 8: all but gray without transparency."""


def header(source: Path | IO[bytes]) -> Header:
    """Reads a file's header.

    Raises:
      BadImage: as for `open_image`.
    """
    with _bad_image(source), Image.open(source, formats=FORMATS) as image:
        _check_size(image)
        gray = image.mode in GRAY_MODES
        # Pillow's name for how pixels are stored, such as RGB;16B, is the decoder's first argument, or the only one.
        truncated = image.mode not in _WIDE and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
        return Header(image.format or "", image.width, image.height, gray, truncated)


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"a decompression bomb: {image.width} x {image.height} pixels")
    slow = any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ()))
    if slow and image.width * image.height > MAX_SLOW_PIXELS:
        raise BadImage(f"{image.width} x {image.height} pixels of {image.format} take minutes; convert it to PNG")


@contextlib.contextmanager
def _bad_image(source: Path | IO[bytes]) -> Iterator[None]:
    """Turns whatever a decoder raises into a `BadImage`."""
    try:
        yield
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage("a decompression bomb") from None
    except Image.UnidentifiedImageError:
        raise BadImage(_unreadable(source)) from None
    except Exception as error:  # decoders raise anything at all on a damaged file
        lines = str(error).splitlines() or [type(error).__name__]
        raise BadImage(f"damaged: {lines[0]}") from None


def _unreadable(source: Path | IO[bytes]) -> str:
    """Returns what a file is that Pillow doesn't know, and what to do about it."""
    if isinstance(source, Path):
        start = source.read_bytes()[:12]
    else:
        source.seek(0)
        start = source.read(12)
    kind = start[8:12] if start[4:8] == b"ftyp" else b""  # ISO 14496-12, section 4.3
    if kind in (b"avif", b"avis"):
        return "AVIF, which this version of Pillow can't read: pip install --upgrade pillow"
    if kind in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return f"HEIC, which Pillow can't read: {install('heif')}, or convert it to JPEG"
    return "not an image that Pillow can read"


def lowest_highest(image: Image.Image) -> ValueRange | None:
    """Returns the lowest and highest value of a gray image of more than 8 bits, without one pixel in TRIMMED at either
    end; None for any other image. BadImage if a value isn't finite.
    """
    if image.mode not in _WIDE:
        return None
    values = np.concatenate([np.asarray(part).ravel() for _, part in _strips(image)])
    if image.mode == "F" and not np.isfinite(values).all():
        raise BadImage("pixels that are not finite numbers")
    first = len(values) // TRIMMED
    last = len(values) - 1 - first
    values.partition((first, last))
    return values[first].item(), values[last].item()


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yields an image in parts of STRIP pixels, each with its first row; a small one as it is."""
    rows = max(1, STRIP // image.width)
    if image.height <= rows:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _by_strips(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Returns an image converted strip by strip, pixel for pixel the same, in less memory."""
    result = Image.new(mode, image.size)
    for top, part in _strips(image):
        converted = convert(part)
        if part is image:
            return converted
        result.paste(converted, (0, top))
    return result


def _map(image: Image.Image, function: Callable[[np.ndarray], np.ndarray], dtype: Any) -> Image.Image:
    return Image.fromarray(function(np.asarray(image)).astype(dtype))


def plain(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Converts an image of any mode to "L" or "RGB", 8 bits a channel.

    Gray values of more than 8 bits are mapped linearly from `value_range` to 0 to 255, rounded and clipped; BadImage if
    there are such values and no range, or if they aren't finite.
    """
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in _WIDE:
        if value_range is None:
            raise BadImage("gray values of more than 8 bits, but the network was trained on 8 bits")
        low, high = value_range

        def scaled(part: np.ndarray) -> np.ndarray:
            values = np.subtract(part, low, dtype=np.float64)
            if not np.isfinite(values).all():
                raise BadImage("pixels that are not finite numbers")
            return np.rint((values * (255 / (high - low))).clip(0, 255))

        return _by_strips(image, "L", lambda part: _map(part, scaled, np.uint8))
    kind = "L" if image.mode in GRAY_MODES else "RGB"
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _by_strips(image, kind, lambda part: _on_white(part).convert(kind))
    return _by_strips(image, kind, lambda part: part.convert(kind))


def _on_white(image: Image.Image) -> Image.Image:
    transparent = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", transparent.size, "white"), transparent)


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    """Returns an image of mode "L" or "RGB"; one that has it already as it is, without a copy."""
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)


def resize_crop(
    image: Image.Image,
    shape: tuple[int, int, int],
    *,
    crop: float = 1.0,
    interpolation: Interpolation = "bilinear",
) -> np.ndarray:
    """Returns the largest center part of an image with the aspect ratio of `shape`, (H, W, C), resized to it: uint8.

    The interpolation is over the area that a pixel covers, so without aliasing.

    Args:
      crop: share of that part's height and width that is taken, from its center.
    """
    height, width, channels = shape
    if image.mode != "L":  # gray becomes color, three times the same values, when it is small
        image = _with_channels(image, channels)
    method = Image.Resampling[interpolation.upper()]
    cropped = ImageOps.fit(image, (width, height), method, bleed=(1 - crop) / 2)
    return np.asarray(_with_channels(cropped, channels)).reshape(shape)


def crop_file(
    source: Path | IO[bytes],
    shape: tuple[int, int, int],
    choose: Callable[[int, int], tuple[int, int, int, int]],
    value_range: ValueRange | None = None,
) -> np.ndarray:
    """Returns a box of an image file, resized to `shape`, (H, W, C) uint8, with the filter of `resize_crop`.

    Args:
      choose: (width, height) of the upright image -> the box (left, top, right, bottom), in its pixels.
      value_range: as for `open_image`, which also lists what is a BadImage.
    """
    height, width, channels = shape
    with _bad_image(source), Image.open(source, formats=FORMATS) as file:
        _check_size(file)
        is_rotated = _orientation(file) in (5, 6, 7, 8)
        full_width, full_height = (file.height, file.width) if is_rotated else file.size
        left, top, right, bottom = choose(full_width, full_height)
        # A JPEG may be decoded smaller, as long as the box keeps as many pixels as the result has.
        across, down = math.ceil(full_width * width / (right - left)), math.ceil(full_height * height / (bottom - top))
        file.draft(file.mode, (down, across) if is_rotated else (across, down))
        image = _with_channels(plain(_load(file), value_range), channels)
    x, y = image.width / full_width, image.height / full_height
    box = left * x, top * y, right * x, bottom * y
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box)).reshape(shape)
