"""From what a user names to image files: files, folders, patterns, and lists of them on standard input."""

import contextlib
import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fcnn.data.decode import EXTENSIONS

LIST = "-"
"""In the place of a path: the list of paths on standard input."""


def image_files(names: Iterable[str], *, skip: Path | None = None) -> list[Path]:
    """Returns the files that paths stand for, in their order: of a folder, every image by its extension, in all of its
    folders; of a pattern that no shell expanded, its matches by name.

    What isn't there, and a folder without images, comes back as it is: reading it gives the reason.

    Args:
      names: paths, patterns, and LIST.
      skip: a folder that is left out where it is inside another one.
    """
    lines = [line for name in names for line in (stdin_lines() if name == LIST else [name])]
    return [file for line in lines for file in _files(line, skip)]


def stdin_lines() -> list[str]:
    """Returns the lines of standard input, which may be any bytes, without empty ones."""
    text = b""
    with contextlib.suppress(OSError):  # a stream that can't be read
        text = b"" if sys.stdin is None else sys.stdin.buffer.read()
    return [os.fsdecode(line) for line in text.splitlines() if line.strip()]


def _files(name: str, skip: Path | None) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        return list(_images(path, skip)) or [path]
    if path.exists() or not glob.has_magic(name):
        return [path]
    return list(dict.fromkeys(file for match in _matches(path) for file in _files(str(match), skip))) or [path]


def _matches(pattern: Path) -> list[Path]:
    """Returns what is there by a pattern, by name; ** follows no links to folders, of which some lead in a circle."""
    first = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    base, parts = Path(*pattern.parts[:first]), pattern.parts[first:]
    hidden = any(part.startswith(".") for part in parts)
    names = (match.relative_to(base).parts for match in base.glob("/".join(parts)))
    return sorted(Path(base, *name) for name in names if hidden or not any(part.startswith(".") for part in name))


def _images(folder: Path, skip: Path | None) -> Iterator[Path]:
    """Yields the images of a folder and its folders, by name; no hidden ones, and no links to folders are followed."""
    for root, folders, files in os.walk(folder):
        inside = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in inside if skip is None or Path(root, name).resolve() != skip.resolve()]
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield Path(root, name)
