"""What lies in a folder of images: which splits, which classes, which files, and what is there that shouldn't be."""

import dataclasses
import os
import stat
import unicodedata
from pathlib import Path

from fcnn.data.decode import EXTENSIONS
from fcnn.data.layout_help import no_folder, no_images
from fcnn.data.names import SPLITS, listed, shown
from fcnn.utils.errors import UserError

_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}


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
    """Folders inside of classes, which are not read."""
    notes: tuple[str, ...]


def read_layout(root: Path) -> Layout:
    """Reads `train/CLASS/*` with `val/` or `test/`, or `CLASS/*`; opens no file.

    Raises:
      UserError: there is no such folder, or no class in it.
    """
    if not root.is_dir():
        raise UserError(no_folder(root))
    reader = _Reader(root)
    top = reader.folders(root)
    named = {name: SPLITS[name.lower()] for name in top if name.lower() in SPLITS}
    # A class may be called "train", as one of "bus", "tram", "train": a split holds folders, a class holds images.
    if any(split == "train" and reader.folders(root / name) for name, split in named.items()):
        if len(set(named.values())) < len(named):
            several = [name for name, split in named.items() if list(named.values()).count(split) > 1]
            raise UserError(f"{shown(str(root))} has several folders for one split: {', '.join(several)}")
        others = [shown(name) for name in top if name not in named]
        if others:
            reader.notes.append(f"beside the splits and not read: {listed(others)}")
        for split in ("train", "validation", "test"):
            for name in (name for name, its in named.items() if its == split):
                reader.read_split(name, split)
    elif top and len(named) == len(top):
        splits = ", ".join(f"{name}/" for name in top)
        raise UserError(f"{shown(str(root))} has {splits} alone; it needs train/ with a folder for each class")
    else:
        reader.read_split("", "train")
    return reader.layout()


class _Reader:
    """Collects what a folder holds."""

    def __init__(self, root: Path) -> None:
        self.root, self.real = root, root.resolve()
        self.classes: dict[str, None] = {}
        self.entries: list[Entry] = []
        self.bad: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.ignored: list[str] = []
        self.outside: list[str] = []
        self.nested: list[str] = []

    def listing(self, folder: Path) -> list[os.DirEntry]:
        """What is in a folder, by name, without hidden files and what file managers leave behind."""
        try:
            with os.scandir(folder) as found:
                seen = [entry for entry in found if not entry.name.startswith(".") and entry.name.lower() not in _JUNK]
        except OSError as error:
            raise UserError(f"{shown(str(folder))} can't be read: {error.strerror}") from None
        return sorted(seen, key=lambda entry: os.fsencode(entry.name))

    def folders(self, folder: Path) -> list[str]:
        """The folders in a folder."""
        return [entry.name for entry in self.listing(folder) if os.path.isdir(entry.path)]

    def broken(self, entry: os.DirEntry, path: str) -> str | None:
        """Why a link can't be followed; None if it can, or is none.

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
        if not target.is_relative_to(self.real):
            self.outside.append(f"{shown(path)} -> {shown(str(target))}")
        return None

    def read_split(self, name: str, split: str) -> None:
        """Reads the classes of a split, from the folder `name`."""
        for entry in self.listing(self.root / name):
            path = f"{name}/{entry.name}" if name else entry.name  # with / on every system: runs keep these paths
            if (reason := self.broken(entry, path)) is not None:
                self.bad.append((path, reason))
            elif entry.is_dir():
                self.read_class(path, split)
            else:
                self.ignored.append(path)

    def read_class(self, folder: str, split: str) -> None:
        """Reads the files of a class."""
        # macOS takes é apart into e and an accent; the same class must be the same in all splits. And a name ends up in
        # pictures, pages and JSON, none of which takes bytes that aren't text.
        name = shown(unicodedata.normalize("NFC", os.path.basename(folder)))
        self.classes[name] = None
        for entry in self.listing(self.root / folder):
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
        """Everything that was found."""
        if not self.entries and not self.bad:
            raise UserError(no_images(self.root))
        if self.outside:
            self.notes.append(f"{len(self.outside)} links lead out of the folder, followed: {listed(self.outside)}")
        if self.nested:
            self.notes.append(f"folders inside a class are not read: {listed(map(shown, self.nested))}")
        if self.ignored:
            self.notes.append(
                f"{len(self.ignored)} files are no image by their name, or in no class, and are not read: "
                f"{listed(map(shown, self.ignored))}"
            )
        classes = tuple(sorted(self.classes))
        nested, notes = tuple(self.nested), tuple(self.notes)
        return Layout(self.root, classes, tuple(self.entries), tuple(self.bad), nested, notes)
