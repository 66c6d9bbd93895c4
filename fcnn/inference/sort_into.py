"""A folder for each class, with links to the images that were taken for it."""

import contextlib
import errno
import filecmp
import itertools
import os
import shutil
from pathlib import Path

from fcnn.utils.errors import UserError

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Of a file system without links, or Windows without the right to make them."""
MARK = ".fcnn-sorted"
"""A file in the folder, by which it is known to be one."""


class SortedFolder:
    """Takes images by class; links to them, or copies where links can't be made. Nothing is ever overwritten."""

    def __init__(self, root: Path) -> None:
        """Makes the folder.

        Raises:
          UserError: it can't be made, or it isn't empty and not one of these.
        """
        self.root = root
        try:
            if root.is_dir() and any(root.iterdir()) and not (root / MARK).is_file():
                raise UserError(f"{root} is not empty, and nothing is sorted into it; take an empty or a new folder")
            root.mkdir(parents=True, exist_ok=True)
            (root / MARK).touch()
        except OSError as error:
            raise UserError(f"{root} can't be used: {error.strerror}") from None

    def add(self, image: Path, name: str) -> Path:
        """Links to an image from the folder of a class; what is there under its name gets it a number.

        Raises:
          UserError: neither a link nor a copy can be made.
        """
        folder, source = self.root / folder_name(name), image.absolute()
        try:
            folder.mkdir(exist_ok=True)
            for number in itertools.count(1):
                place = folder / (image.name if number == 1 else f"{image.stem}-{number}{image.suffix}")
                if _leads_to(place, source):
                    return place
                with contextlib.suppress(FileExistsError):
                    _link(source, place)
                    return place
        except OSError as error:
            raise UserError(f"{image} can't be linked to from {folder}: {error.strerror}") from None
        raise AssertionError("numbers end")


def folder_name(name: str) -> str:
    """Returns the name of a class as that of a folder: names come with a file of weights, from anyone, and must not
    lead elsewhere."""
    letters = ("_" if letter in "/\\:" or not letter.isprintable() else letter for letter in name)
    return "".join(letters).strip(". ") or "_"


def _leads_to(place: Path, source: Path) -> bool:
    """Whether there is a link to a file, or a copy of it, already."""
    if place.is_symlink():
        return os.readlink(place) == str(source)
    return place.is_file() and filecmp.cmp(place, source, shallow=False)


def _link(source: Path, place: Path) -> None:
    """Makes a symbolic link, or a copy; FileExistsError if the place is taken."""
    try:
        place.symlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(source, place)


def _copy(source: Path, place: Path) -> None:
    """Makes a copy, whole or not at all; FileExistsError if the place is taken."""
    with source.open("rb") as original, place.open("xb") as copy:
        try:
            shutil.copyfileobj(original, copy)
            copy.flush()
        except BaseException:  # Ctrl-C, too
            copy.close()
            place.unlink()
            raise
