"""`audit.html` and `audit.csv`: what is doubtful about a folder of images, for somebody to decide."""

import csv
import dataclasses
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fcnn.utils.files import write_bytes
from fcnn.utils.html import card, cards, code, page, paragraph, table
from fcnn.utils.text import printable

PAGE, TABLE = "audit.html", "audit.csv"
THUMBNAIL = 144
"""Pixels of a picture's longer side."""
MOST = 240
"""Images of a kind that the page shows; the table has all of them."""
HEAD = ("path", "issue", "label", "suggested", "score", "details")

KINDS = {
    "wrong label": (
        "Labels that are likely wrong",
        "Another class is as probable here as it usually is for its own images (confident learning). The most "
        "doubtful come first.",
    ),
    "label": (
        "Labels in doubt",
        "A cross-validated classifier predicts another class, but with less confidence. Many of these labels are "
        "right: the image is difficult.",
    ),
    "two labels": ("Duplicates with two labels", "The same image, or nearly, is in two classes: one label is wrong."),
    "two splits": (
        "Duplicates in two splits",
        "The same image, or nearly, is in training and in another split: the accuracy would be too high.",
    ),
    "duplicate": ("Duplicates in one class", "The same image, or nearly. fcnn keeps duplicates in one split."),
    "odd": ("Outliers", "Nothing else in the folder looks like them. Do they belong here?"),
    "blurred": ("Blurred", "Much less sharp than the others; large even areas look so, too."),
    "dark": ("Dark", "Much darker than the others."),
    "overexposed": ("Overexposed", "Much brighter than the others."),
    "tiny": ("Small", "Fewer pixels than half of what is usual here, and than the network takes."),
    "unreadable": (
        "Can't be read",
        f"fcnn train stops at them. Fix or delete them; with {TABLE} as it is they are left out.",
    ),
}
"""The heading and the explanation of each kind of doubt, in the order of the page."""


@dataclasses.dataclass(frozen=True)
class Issue:
    """A doubt about a file."""

    kind: str
    """One of KINDS."""
    path: str
    """Below the folder."""
    label: str
    """The class that it has."""
    suggested: str
    """The class that it should rather have; "-" to leave it out; "" if that isn't clear."""
    score: float
    """The higher, the more doubtful; comparable within a kind alone."""
    details: str
    other: str = ""
    """The file that it is a duplicate of."""


@dataclasses.dataclass(frozen=True)
class Audit:
    """What is doubtful about a folder of images."""

    root: Path
    images: int
    classes: Sequence[str]
    weights: str
    """The network that was used."""
    accuracy: float
    """The share of the labels that a classifier recognizes that has not seen the image."""
    issues: Sequence[Issue]
    corrected: Sequence[tuple[str, str]]
    """Paths and labels that corrections changed already; "" for an image that is left out."""
    notes: Sequence[str]
    thumbnail: Callable[[str], bytes | None]
    """From a path to a small picture as a JPEG."""

    def counts(self) -> dict[str, int]:
        """Returns how many issues there are of each kind that there is, in the order of KINDS."""
        counts = Counter(issue.kind for issue in self.issues)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}


def write_table(path: Path, audit: Audit) -> None:
    """Writes the issues as CSV, a line for each file, so that an edited `label` is the only one of its file. What was
    corrected already is in it, too: the table is a whole list of corrections."""
    corrected = dict(audit.corrected)
    by_path: dict[str, list[Issue]] = {}
    for issue in audit.issues:
        by_path.setdefault(issue.path, []).append(issue)
    rows = []
    for name, issues in by_path.items():
        kinds = [*dict.fromkeys(issue.kind for issue in issues), *(["corrected"] if name in corrected else [])]
        details = "; ".join(dict.fromkeys(_details(issue) for issue in issues))
        first = issues[0]
        rows.append((name, "; ".join(kinds), first.label, first.suggested, f"{first.score:.4f}", details))
    rows += [
        (name, "corrected" if label else "left out", label, "", "", "")
        for name, label in corrected.items()
        if name not in by_path
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([HEAD, *([printable(cell) for cell in row] for row in rows)])
    write_bytes(path, text.getvalue().encode())


def _details(issue: Issue) -> str:
    return f"{issue.details}: {issue.other}" if issue.other else issue.details


def write_page(path: Path, audit: Audit, command: str, progress: Callable[..., Iterable]) -> None:
    """Writes the page, whole or not at all.

    Args:
      command: trains with the corrections.
      progress: shows progress, as `Console.progress`.
    """
    counts = audit.counts()
    kinds = [(kind, [issue for issue in audit.issues if issue.kind == kind][:MOST]) for kind in counts]
    names = {name for _, issues in kinds for issue in issues for name in (issue.path, issue.other) if name}
    names -= {issue.path for issue in audit.issues if issue.kind == "unreadable"}
    pictures = {name: audit.thumbnail(name) for name in progress(sorted(names), "drawing", len(names))}
    sections = [("Summary", _summary(audit, counts)), ("What to do", _what_to_do(command))]
    for kind, issues in kinds:
        heading, explanation = KINDS[kind]
        more = f" The first {MOST} are shown; {TABLE} has all." if counts[kind] > MOST else ""
        body = paragraph(explanation + more) + cards(_card(issue, pictures) for issue in issues)
        sections.append((f"{heading} ({counts[kind]:,})", body))
    write_bytes(path, page(f"A look at {printable(audit.root.name)}", sections))


def _summary(audit: Audit, counts: dict[str, int]) -> str:
    text = (
        f"{audit.images:,} images of {len(audit.classes):,} classes. A classifier on the features of {audit.weights} "
        f"recognizes {100 * audit.accuracy:.1f} % of the labels of images that it has not seen."
    )
    rows = [(KINDS[kind][0], count) for kind, count in counts.items()]
    notes = "".join(paragraph(printable(note)) for note in audit.notes)
    return paragraph(text) + notes + (table(rows) if rows else paragraph("Nothing is doubtful."))


def _what_to_do(command: str) -> str:
    return paragraph(
        f"Open {TABLE}, which lies beside this page. Where a label is wrong, put the right class into the column "
        '"label"; empty it to leave the image out. Lines that you don\'t change make no difference, except that files '
        "that can't be read are left out. Then train with it; no file is moved or deleted:"
    ) + code(command)


def _card(issue: Issue, pictures: dict[str, bytes | None]) -> str:
    name, other, label = printable(issue.path), printable(issue.other), printable(issue.label)
    lines = [name]
    if issue.kind in ("wrong label", "label"):
        lines.append(f"{label} → {printable(issue.suggested)}")
    elif other:
        lines.append(f"duplicate of {other}")
    images = [pictures.get(path) for path in (issue.path, issue.other) if path]
    words = f"An image of class {label}" if label else "A file that can't be read"
    return card([image for image in images if image], words, [*lines, printable(issue.details)])


def folder_name(root: Path) -> str:
    """Returns a name for the folder of an audit."""
    return printable(root.resolve().name).replace(os.sep, "_") or "photos"
