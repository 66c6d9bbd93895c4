"""What to do about a folder that isn't one of images by class: where the images are, or what is there instead."""

from pathlib import Path

from fcnn.data.decode import EXTENSIONS
from fcnn.data.names import SPLITS, listed, shown

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_WANTED = "put the images of each class into a folder of its own: {root}/CLASS/*.jpg"
_DEEP = 4
"""How many folders down images are looked for, to say where they are."""


def no_folder(path: Path) -> str:
    """What to do about a path that isn't a folder."""
    name = shown(str(path))
    if path.suffix.lower() in _ARCHIVES and path.is_file():
        return f"{name} is an archive: unpack it, and give the folder with the images"
    if path.is_file():
        return f"{name} is a file, not a folder: {_WANTED.format(root=shown(str(path.parent)))}"
    return f"data.name folder:{name}: there is no such folder"


def no_images(root: Path) -> str:
    """What to do about a folder without an image in the folder of a class."""
    name = shown(str(root))
    if inner := _image_sets(root, _DEEP):
        meant = " or ".join(f"folder:{shown(path)}" for path in inner)
        return f"{name} has no images in the folders right below it; did you mean {meant}?"
    files = [path for path in _paths(root) if path.is_file()]
    if any(path.suffix.lower() in EXTENSIONS for path in files):
        return f"{name} has images and no folder of a class: {_WANTED.format(root=name)}"
    if archives := [shown(path.name) for path in files if path.suffix.lower() in _ARCHIVES]:
        return f"{name} has archives ({listed(archives)}) and no folder of images: unpack them"
    return f"{name} has no folder of images: {_WANTED.format(root=name)}"


def _image_sets(folder: Path, depth: int) -> list[str]:
    """The folders below one that hold folders of images, or splits with them, at most three; no links are followed."""
    found: dict[str, None] = {}
    for inner in (path for path in _paths(folder) if path.is_dir() and not path.is_symlink()):
        classes = [path for path in _paths(inner) if path.is_dir() and _has_images(path)]
        if len(classes) > 1:
            found[str(folder if inner.name.lower() in SPLITS else inner)] = None
        elif depth > 1:
            found |= dict.fromkeys(_image_sets(inner, depth - 1))
    return list(found)[:3]


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in EXTENSIONS for path in _paths(folder))


def _paths(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing if it can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
