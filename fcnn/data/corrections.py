"""A list of corrected labels, applied when a folder is read: no file is moved, renamed or deleted."""

import csv
import dataclasses
import io
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcnn.data.layout import Entry, Layout
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable

REMOVED = ("", "-")
"""What stands in the place of a label where an image is left out."""


@dataclasses.dataclass(frozen=True)
class Corrected:
    """A folder whose labels are corrected."""

    layout: Layout
    """Without the images that are left out."""
    removed: tuple[Entry, ...] = ()
    """These, with the label that they have in the folder."""
    changed: tuple[Entry, ...] = ()
    """The images that have another label than in the folder."""
    note: str | None = None
    """What was changed, in a line; None if nothing was."""


def correct(layout: Layout, file: str | None) -> Corrected:
    """Applies a list of corrections to a folder.

    Args:
      file: CSV whose first line names the columns path, below the folder, and label: the class that the image belongs
        to, or nothing or "-" to leave it out; other columns are ignored. None for no corrections.

    Raises:
      UserError: the file can't be read, or names images or classes that aren't there, or an image twice.
    """
    if file is None:
        return Corrected(layout)
    labels = _labels(layout, file)
    entries = [dataclasses.replace(e, name=labels.get(e.path) or e.name) for e in layout.entries]
    left_out = {path for path, label in labels.items() if label is None}
    changed = [new for new, old in zip(entries, layout.entries, strict=True) if new.name != old.name]
    removed = [entry for entry in layout.entries if entry.path in left_out]
    bad = [(path, reason) for path, reason in layout.bad if path not in left_out]
    kept = [entry for entry in entries if entry.path not in left_out]
    note = f"{printable(file)} corrects the labels of {len(changed):,} images and leaves out {len(left_out):,}"
    return Corrected(
        dataclasses.replace(layout, entries=tuple(kept), bad=tuple(bad)),
        tuple(removed),
        tuple(changed),
        note if changed or left_out else None,
    )


def _labels(layout: Layout, file: str) -> dict[str, str | None]:
    """Returns path -> class, or None for an image that is left out."""
    name, paths, classes = printable(file), _by_name(layout), {_normal(one): one for one in layout.classes}
    labels: dict[str, str | None] = {}
    strange, unknown, twice = [], [], []
    for written, cell in read_corrections(file):
        label = _normal(cell)
        matches = paths.get(written, [])
        if len(matches) != 1:
            strange.append(written)
        elif label not in REMOVED and label not in classes:
            unknown.append(cell)
        elif labels.setdefault(matches[0], classes.get(label)) != classes.get(label):
            twice.append(written)
    root = printable(str(layout.root))
    for cells, problem, hint in (
        (strange, f"paths that {root} doesn't have", "they begin below the folder: CLASS/FILE.jpg"),
        (unknown, f"classes that {root} doesn't have", f"they are {join(map(printable, layout.classes), 10)}"),
        (twice, "paths with two labels", "leave one of the lines out"),
    ):
        if cells:
            distinct = [printable(cell) for cell in dict.fromkeys(cells)]
            raise UserError(f"{name} has {len(distinct):,} {problem}: {join(distinct, 3)}\nCorrect the file: {hint}")
    return labels


def _by_name(layout: Layout) -> Mapping[str, Sequence[str]]:
    """Returns the paths of a folder's files by how they may be written: as they are, and as they are printed."""
    paths = defaultdict(list)
    for path in (*(entry.path for entry in layout.entries), *(path for path, _ in layout.bad)):
        for written in {path, printable(path)}:
            paths[written].append(path)
    return paths


def _normal(label: str) -> str:
    return unicodedata.normalize("NFC", label).strip()


def read_corrections(file: str) -> list[tuple[str, str]]:
    """Returns the pairs of path and label in a CSV, as they are written; UserError if it isn't one."""
    name = printable(file)
    try:
        data = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"data.corrections {name} can't be read: {error.strerror}") from None
    text = data.decode("utf-8-sig", "surrogateescape")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=Counter(first).__getitem__)  # spreadsheets of some countries write semicolons
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        missing = [column for column in ("path", "label") if column not in (lines.fieldnames or ())]
        if missing:
            raise UserError(
                f"{name} has no column {' and no column '.join(missing)}\n"
                "The first line of a list of corrections names its columns: path,label"
            )
        rows = [(row["path"], row["label"]) for row in lines]
    except csv.Error as error:
        raise UserError(f"{name} is not CSV: {error}") from None
    if short := [path for path, label in rows if label is None]:
        raise UserError(f"{name} has {len(short):,} lines without a label: {join(map(printable, short), 3)}")
    return [(path, label) for path, label in rows if label is not None]
