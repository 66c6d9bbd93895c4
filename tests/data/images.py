"""Images for tests: each seed its own, and none like another; and files that are no images any more."""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth image that no other seed resembles, (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def damage(root: Path) -> list[str]:
    """Twenty damaged files of different kinds, in the classes a and b; their names."""
    good = io.BytesIO()
    Image.fromarray(pixels(10**6, 200, 300)).save(good, "JPEG")
    jpeg = good.getvalue()
    png = io.BytesIO()
    Image.fromarray(pixels(10**6, 200, 300)).save(png, "PNG")
    data = png.getvalue()
    gif = io.BytesIO()
    Image.fromarray(pixels(10**6)).save(gif, "GIF")
    wide = data[:16] + (50_000).to_bytes(4, "big") * 2 + data[24:29]
    wide += zlib.crc32(wide[12:29]).to_bytes(4, "big") + data[33:]
    text, web = b"not an image at all", b"<html>404</html>"
    files = {
        "a/zero.jpg": b"", "a/zero.png": b"", "a/text.jpg": text, "a/half.jpg": jpeg[: len(jpeg) // 2],
        "a/head.jpg": jpeg[:100], "a/two.jpg": jpeg[:2], "a/half.png": data[: len(data) // 2], "a/head.png": data[:40],
        "a/magic.png": data[:8], "a/nulls.jpg": bytes(1000), "b/nulls.png": bytes(5000), "b/html.jpg": web,
        "b/half.gif": gif.getvalue()[:30], "b/bomb.png": wide, "b/head.bmp": b"BM" + bytes(30),
        "b/head.tif": b"II*\x00\x08\x00\x00\x00", "b/head.webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        "b/noise.jpg": np.random.default_rng(0).bytes(2000),
    }  # fmt: skip
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "b/dangling.jpg").symlink_to(root / "nowhere.jpg")
    (root / "b/circle.jpg").symlink_to("circle.jpg")
    return [*files, "b/dangling.jpg", "b/circle.jpg"]
