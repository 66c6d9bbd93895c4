"""Makes the pictures of docs/gallery.md: runs its commands in their order, and takes from runs/ what the page shows.

Of a page in HTML it takes what a browser (Debian's package `chromium`) shows of it: python docs/make_gallery.py
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from make_studies import DOCS, shrink
from PIL import Image, ImageChops

from fcnn import cli

RUNS = Path("runs")


def main() -> None:
    """To be run where there is no folder `runs` yet, else a run that is finished already is taken as it is."""
    page = (DOCS / "gallery.md").read_text()
    for command in re.findall(r"```bash\nfcnn (.*?)\n```", page, re.DOTALL):
        if code := cli.main(shlex.split(command)):
            sys.exit(code)
    for name in re.findall(r"\]\(gallery/(.*?)\)", page):
        target = DOCS / "gallery" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = RUNS / name
        if name.endswith(".html.png"):
            screenshot(source.with_suffix(""), target)
            source = target
        shrink(source, target)


def screenshot(page: Path, target: Path) -> None:
    """The upper part of a page, as wide as a browser's window on a laptop."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,2150", f"--screenshot={target}"]
    subprocess.run(["chromium", *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
    with Image.open(target) as shot:
        image = shot.convert("RGB")
    *_, bottom = ImageChops.invert(image).getbbox() or image.getbbox()  # of what isn't white
    image.crop((0, 0, image.width, bottom + 20)).save(target)


if __name__ == "__main__":
    main()
