"""Runs the notebooks of docs/course and stores their pictures, and no other output: python docs/make_course.py [NAME ...]"""

import base64
import io
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

COURSE = Path(__file__).parent / "course"


def main() -> None:
    for path in sorted(COURSE.glob("*.ipynb")):
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        start, book = time.perf_counter(), nbformat.read(path, as_version=4)
        NotebookClient(book, timeout=600, kernel_name="python3").execute()
        keep_pictures(book)
        nbformat.write(book, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size // 1000} kB")


def keep_pictures(book: Any) -> None:
    """Removes from a notebook all that running it has added, except pictures."""
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [
                nbformat.v4.new_output("display_data", {"image/png": shrink(output.data["image/png"])})
                for output in cell.outputs
                if "image/png" in output.get("data", {})
            ]


def shrink(picture: str) -> str:
    """Returns a PNG in base64 with at most 128 colors, which is a third of the size and doesn't show."""
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(128).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main()
