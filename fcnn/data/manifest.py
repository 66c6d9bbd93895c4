"""Which files are in which split of a run, stored as `splits.csv`, and how that compares with the files of today."""

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable

SPLITS = ("train", "validation", "test")
UNUSED = "unused"
"""The split of files that are in none of the three, as data.num-train and data.corrections leave them."""
_WAS = "was "
_HEADER = ["split", "class", "path", "hash"]


class Row(NamedTuple):
    """A file of a run's data."""

    split: str
    name: str
    """Of its class."""
    path: str
    """Below the folder."""
    hash: str
    """Of its bytes, as `ImageInfo.sha`."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of a run's data, split by split, in the order of each split."""

    rows: tuple[Row, ...]
    earlier: tuple[Row, ...] = ()
    """Files of the runs before it (`DataConfig.splits`) whose content is in none of the three splits any more, with the
    split that they had: "was train" and so on in the CSV."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, sorted."""
        return tuple(sorted({row.name for row in self.rows}))

    def paths(self, split: str) -> list[str]:
        """Returns the files of a split below the folder, in its order."""
        return [row.path for row in self.rows if row.split == split]

    def to_csv(self) -> bytes:
        """Returns the manifest as CSV, a line per image. Bytes of a name that aren't UTF-8 stay as they are."""
        text = io.StringIO(newline="")
        earlier = (row._replace(split=_WAS + row.split) for row in self.earlier)
        csv.writer(text, lineterminator="\n").writerows([_HEADER, *self.rows, *earlier])
        return text.getvalue().encode("utf-8", "surrogateescape")

    @staticmethod
    def from_csv(data: bytes, source: str) -> "Manifest":
        """Returns the manifest that `to_csv` wrote; UserError, naming `where`, if `data` isn't one."""
        lines = csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""))
        try:
            if next(lines, None) != _HEADER:
                raise ValueError(f"the first line must be {','.join(_HEADER)}")
            rows = tuple(Row(*line) for line in lines)
            past = {_WAS + split: split for split in SPLITS}
            earlier = tuple(row._replace(split=past[row.split]) for row in rows if row.split in past)
            rows = tuple(row for row in rows if row.split not in past)
            if unknown := {row.split for row in rows} - {*SPLITS, UNUSED}:
                raise ValueError(f"unknown split {min(unknown)!r}")
        except (ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{source} is damaged: {error}") from None
        return Manifest(rows, earlier)

    def unchanged(self, hashes: Mapping[str, str]) -> tuple[Row, ...]:
        """Returns the files that are still there with the same content; `hashes` as for `compare`."""
        return tuple(row for row in self.rows if hashes.get(row.path) == row.hash)

    def count_trained(self, hashes: Iterable[str]) -> int:
        """Returns how many files have the content of one that the run was trained on, whatever their names."""
        trained = {row.hash for row in (*self.rows, *self.earlier) if row.split == "train"}
        return sum(one in trained for one in hashes)


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files that a run on a folder of images has."""

    manifest: Manifest
    channels: int
    """Of the run's images."""
    exact: bool
    """Whether all of them must be there, unchanged, and no others."""


@dataclasses.dataclass(frozen=True)
class Changes:
    """How the files of today differ from a run's: paths below the folder."""

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.new)

    def __str__(self) -> str:
        kinds = dataclasses.asdict(self).items()
        return "; ".join(f"{len(paths):,} {kind} ({join(map(printable, paths), 3)})" for kind, paths in kinds if paths)


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


def remaining(manifest: Manifest, rows: Iterable[Row]) -> str:
    """Returns how many images of each split are in `rows`: "train 43 of 43, validation 4 of 5 images"."""
    before, now = (Counter(row.split for row in some) for some in (manifest.rows, rows))
    return ", ".join(f"{split} {now[split]:,} of {before[split]:,}" for split in SPLITS if before[split]) + " images"
