"""Which splits, classes and files are in a folder of images, what is there that shouldn't be, and how to fix it."""

import dataclasses
import os
import stat
import unicodedata
from pathlib import Path

from fcnn.data.decode import EXTENSIONS
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""By the folder's name in small letters."""
_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_FIX = "put the images of each class into a folder of its own: {root}/CLASS/*.jpg"
_DEPTH = 4
"""How many folders down images are searched for, to say where they are."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file that should be an image."""

    path: str
    """Below the folder."""
    split: str
    name: str
    """Of its class."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a folder, in the order train, validation, test, and by name within each."""

    root: Path
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    bad: tuple[tuple[str, str], ...]
    """Paths that can't be used and why: links to nothing, things that aren't files."""
    nested: tuple[str, ...]
    """Folders inside classes, which are not read."""
    notes: tuple[str, ...]


def read_layout(root: Path) -> Layout:
    """Reads `train/CLASS/*` with `val/` or `test/`, or `CLASS/*`; opens no file.

    Raises:
      UserError: there is no such folder, or no class in it.
    """
    if not root.is_dir():
        raise UserError(no_folder(root))
    reader = _Reader(root)
    folders = [entry.name for entry in reader.list_folder(root) if os.path.isdir(entry.path)]
    splits = {name: _SPLITS[name.lower()] for name in folders if name.lower() in _SPLITS}
    # A class may be called "train", as one of "bus", "tram", "train": a split holds folders, a class holds images.
    if any(split == "train" and reader.has_folder(root / name) for name, split in splits.items()):
        if len(set(splits.values())) < len(splits):
            repeated = [name for name, split in splits.items() if list(splits.values()).count(split) > 1]
            raise UserError(f"{printable(str(root))} has several folders for one split: {', '.join(repeated)}")
        if others := [printable(name) for name in folders if name not in splits]:
            reader.notes.append(f"beside the splits and not read: {join(others)}")
        for name in sorted(splits, key=lambda name: ("train", "validation", "test").index(splits[name])):
            reader.read_split(name, splits[name])
    elif folders and len(splits) == len(folders):
        names = ", ".join(f"{name}/" for name in folders)
        raise UserError(f"{printable(str(root))} has {names} alone; it needs train/ with a folder for each class")
    else:
        reader.read_split("", "train")
    return reader.layout()


class _Reader:
    """Collects what a folder holds."""

    def __init__(self, root: Path) -> None:
        self.root, self.resolved_root = root, root.resolve()
        self.classes: set[str] = set()
        self.entries: list[Entry] = []
        self.bad: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.ignored: list[str] = []
        self.outside: list[str] = []
        self.nested: list[str] = []

    def list_folder(self, folder: Path) -> list[os.DirEntry]:
        """Returns what is in a folder, by name, without hidden files and what file managers leave behind."""
        try:
            with os.scandir(folder) as entries:
                usable = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _JUNK]
        except OSError as error:
            raise UserError(f"{printable(str(folder))} can't be read: {error.strerror}") from None
        return sorted(usable, key=lambda entry: os.fsencode(entry.name))

    def has_folder(self, folder: Path) -> bool:
        """Returns whether there is a folder in a folder."""
        return any(os.path.isdir(entry.path) for entry in self.list_folder(folder))

    def broken(self, entry: os.DirEntry, path: str) -> str | None:
        """Returns why a link can't be followed; None if it can, or is none.

        Links that lead out of the folder are followed, since people link their data, and named in a note: somebody
        else's folder could have links to images of one's own, which a report would then show.
        """
        if not entry.is_symlink():
            return None
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
            return "a link to nothing"
        if Path(entry.path).parent.resolve().is_relative_to(target):
            return "a link to a folder that it is in"
        if not target.is_relative_to(self.resolved_root):
            self.outside.append(f"{printable(path)} -> {printable(str(target))}")
        return None

    def read_split(self, name: str, split: str) -> None:
        """Reads the classes of a split, from the folder `name`."""
        for entry in self.list_folder(self.root / name):
            path = f"{name}/{entry.name}" if name else entry.name  # with / on every system: runs keep these paths
            if (reason := self.broken(entry, path)) is not None:
                self.bad.append((path, reason))
            elif entry.is_dir():
                self.read_class(path, split)
            else:
                self.ignored.append(path)

    def read_class(self, folder: str, split: str) -> None:
        """Reads the files of a class."""
        # macOS splits é into e and an accent; the same class must be the same in all splits. And a name ends up in
        # pictures, pages and JSON, none of which takes bytes that aren't text.
        name = printable(unicodedata.normalize("NFC", os.path.basename(folder)))
        self.classes.add(name)
        for entry in self.list_folder(self.root / folder):
            path = f"{folder}/{entry.name}"
            if (reason := self.broken(entry, path)) is not None:
                self.bad.append((path, reason))
            elif entry.is_dir():
                self.nested.append(path)
            elif not stat.S_ISREG(entry.stat().st_mode):
                self.bad.append((path, "not a file"))
            elif os.path.splitext(entry.name)[1].lower() not in EXTENSIONS:
                self.ignored.append(path)
            else:
                self.entries.append(Entry(path, split, name))

    def layout(self) -> Layout:
        """Returns what has been read; UserError if it has no image."""
        if not self.entries and not self.bad:
            raise UserError(_no_images(self.root))
        if self.outside:
            self.notes.append(f"{len(self.outside)} links lead out of the folder, followed: {join(self.outside)}")
        if self.nested:
            self.notes.append(f"folders inside a class are not read: {join(map(printable, self.nested))}")
        if self.ignored:
            self.notes.append(
                f"{len(self.ignored)} files are no image by their name, or in no class, and are not read: "
                f"{join(map(printable, self.ignored))}"
            )
        classes, entries, bad = tuple(sorted(self.classes)), tuple(self.entries), tuple(self.bad)
        return Layout(self.root, classes, entries, bad, tuple(self.nested), tuple(self.notes))


def no_folder(path: Path) -> str:
    """Returns what to do about a path that isn't a folder."""
    name = printable(str(path))
    if path.suffix.lower() in _ARCHIVES and path.is_file():
        return f"{name} is an archive: unpack it, and give the folder with the images"
    if path.is_file():
        return f"{name} is a file, not a folder: {_FIX.format(root=printable(str(path.parent)))}"
    return f"data.name folder:{name}: there is no such folder"


def _no_images(root: Path) -> str:
    """Returns what to do about a folder without an image in the folder of a class."""
    name = printable(str(root))
    if inner := _image_sets(root, _DEPTH):
        candidates = " or ".join(f"folder:{printable(path)}" for path in inner)
        return f"{name} has no images in the folders right below it; did you mean {candidates}?"
    files = [path for path in _paths(root) if path.is_file()]
    if any(path.suffix.lower() in EXTENSIONS for path in files):
        return f"{name} has images and no folder of a class: {_FIX.format(root=name)}"
    if archives := [printable(path.name) for path in files if path.suffix.lower() in _ARCHIVES]:
        return f"{name} has archives ({join(archives)}) and no folder of images: unpack them"
    return f"{name} has no folder of images: {_FIX.format(root=name)}"


def _image_sets(folder: Path, depth: int) -> list[str]:
    """Returns at most three folders below one that hold folders of images, or splits with them; follows no links."""
    sets: dict[str, None] = {}
    for inner in (path for path in _paths(folder) if path.is_dir() and not path.is_symlink()):
        files = [_paths(path) for path in _paths(inner) if path.is_dir()]
        if sum(any(path.suffix.lower() in EXTENSIONS for path in paths) for paths in files) > 1:
            sets[str(folder if inner.name.lower() in _SPLITS else inner)] = None
        elif depth > 1:
            sets |= dict.fromkeys(_image_sets(inner, depth - 1))
    return list(sets)[:3]


def _paths(folder: Path) -> list[Path]:
    """Returns what is in a folder, by name; nothing if it can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
