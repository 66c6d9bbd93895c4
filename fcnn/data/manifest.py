"""Which files are in which split of a run, kept as `splits.csv`, and how that compares with the files of today."""

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fcnn.data.names import listed, shown
from fcnn.utils.errors import UserError

SPLITS = ("train", "validation", "test")
UNUSED = "unused"
"""The split of files that are in none of the three, as data.num-train leaves them."""


class Row(NamedTuple):
    """A file of a run's data."""

    split: str
    name: str
    """Of its class."""
    path: str
    """Below the folder."""
    hash: str
    """Of its bytes, as `Seen.sha`."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of a run's data, split by split, in the order of each split."""

    rows: tuple[Row, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, sorted."""
        return tuple(sorted({row.name for row in self.rows}))

    def count(self, split: str) -> int:
        """Returns how many files a split has."""
        return sum(row.split == split for row in self.rows)

    def paths(self, split: str) -> list[str]:
        """Returns the files of a split below the folder, in its order."""
        return [row.path for row in self.rows if row.split == split]

    def to_csv(self) -> bytes:
        """Returns the manifest as CSV, a line an image. Bytes of a name that aren't UTF-8 stay as they are."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("split", "class", "path", "hash"))
        writer.writerows(self.rows)
        return text.getvalue().encode("utf-8", "surrogateescape")

    @staticmethod
    def from_csv(data: bytes, where: str) -> "Manifest":
        """Returns what `to_csv` wrote.

        Raises:
          UserError: `data` isn't that; names `where`.
        """
        lines = csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""))
        try:
            if next(lines, None) != ["split", "class", "path", "hash"]:
                raise ValueError("the first line must be split,class,path,hash")
            rows = tuple(Row(*line) for line in lines)
            if wrong := {row.split for row in rows} - {*SPLITS, UNUSED}:
                raise ValueError(f"unknown split {min(wrong)!r}")
        except (ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{where} is damaged: {error}") from None
        return Manifest(rows)


@dataclasses.dataclass(frozen=True)
class Changes:
    """How the files of today differ from a run's: paths below the folder."""

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.new)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "changed": self.changed, "new": self.new}
        return "; ".join(f"{len(p):,} {kind} ({listed(map(shown, p), 3)})" for kind, p in kinds.items() if p)


def compare(manifest: Manifest, hashes: Mapping[str, str]) -> Changes:
    """Compares a run's files with those that are there.

    Args:
      manifest: of the run.
      hashes: path -> hash of every file; "" of one that can't be read, which counts as changed and never as new.
    """
    known = {row.path for row in manifest.rows}
    return Changes(
        missing=tuple(row.path for row in manifest.rows if row.path not in hashes),
        changed=tuple(r.path for r in manifest.rows if r.path in hashes and hashes[r.path] != r.hash),
        new=tuple(path for path in hashes if path not in known and hashes[path]),
    )


def shared(manifest: Manifest, hashes: Mapping[str, str]) -> int:
    """Returns how many of the run's files are there, by path and content."""
    return sum(hashes.get(row.path) == row.hash for row in manifest.rows)


def overlap(manifest: Manifest, hashes: Iterable[str]) -> int:
    """Returns how many files have the content of one that the run was trained on, whatever their names."""
    trained = {row.hash for row in manifest.rows if row.split == "train"}
    return sum(one in trained for one in hashes)


def left(manifest: Manifest, used: Iterable[Row]) -> str:
    """Returns what the changes leave of each split: "train 43 of 43, validation 4 of 5, test 12 of 12 images"."""
    counts = Counter(row.split for row in used)
    return ", ".join(f"{s} {counts[s]:,} of {manifest.count(s):,}" for s in SPLITS if manifest.count(s)) + " images"
