"""What is doubtful about a folder of images by class: likely wrong labels, duplicates, odd and bad photographs."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fcnn.analysis.audit.issues import copy_issues, label_doubts, odd_issues, quality_issues, unreadable_issues
from fcnn.analysis.audit.look import look_at
from fcnn.data.audit import measure_range
from fcnn.data.decode import BadImage, open_image
from fcnn.data.fingerprint import duplicates
from fcnn.data.folder import scan_folder
from fcnn.data.label_issues import FEWEST, judged_classes
from fcnn.data.layout import Entry
from fcnn.data.parallel import Progress
from fcnn.data.scan import ImageInfo
from fcnn.report.audit import THUMBNAIL, Audit
from fcnn.training.linear_probe import FOLDS, fit_linear_probe
from fcnn.training.pretrained import load_network
from fcnn.transfer.earlier import count_learned
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable


def audit_folder(
    root: Path, *, weights: str, corrections: str | None, log: Callable[[str], None], progress: Progress
) -> Audit:
    """Looks at every image of a folder.

    Args:
      root: folders of images by class, as for `folder:PATH`; splits are looked at together.
      weights: a network, as for `fcnn.training.pretrained.load_network`.
      corrections: as `DataConfig.corrections`.

    Raises:
      UserError: it is no such folder or too small, or there is no such network.
    """
    network = load_network(weights, head=False)
    folder = scan_folder(root, "skip", progress, corrections)
    entries, infos = folder.entries, folder.infos
    classes = _classes(root, entries)
    log(f"{len(entries):,} images of {len(classes):,} classes in {printable(str(root))}; features of {weights}.")
    notes = [*filter(None, [folder.note]), *_learned(weights, infos)]
    value_range = measure_range(entries, infos)
    features, qualities, present = look_at([root / entry.path for entry in entries], network, value_range, progress)
    if lost := [entries[i].path for i in np.setdiff1d(np.arange(len(entries)), present)]:
        notes.append(f"Changed while they were read, and not judged: {join(map(printable, lost))}")
    entries, infos = [entries[i] for i in present], [infos[i] for i in present]
    classes = _classes(root, entries)
    pairs, groups = duplicates([(info.hash, info.fine_hash) for info in infos])
    labels = np.asarray([classes.index(entry.name) for entry in entries], np.int64)
    probe = fit_linear_probe(features, labels, len(classes), groups, progress=progress)
    issues = [
        *label_doubts(entries, classes, labels, probe.logits, groups),
        *copy_issues(entries, infos, pairs),
        *quality_issues(entries, infos, qualities, min(network.info.image_shape[:2])),
        *odd_issues(entries, features, groups),
        *unreadable_issues(folder.bad),
    ]
    if few := [printable(classes[i]) for i in np.flatnonzero(~judged_classes(labels, groups, len(classes)))]:
        notes.append(f"Classes with fewer than {FEWEST} different images, whose labels can't be judged: {join(few)}")
    return Audit(
        root=root,
        images=len(entries),
        classes=classes,
        weights=weights,
        accuracy=probe.accuracy,
        issues=tuple(issues),
        corrected=(*((e.path, e.name) for e in folder.corrected), *((row.path, "") for row in folder.removed)),
        notes=tuple(notes),
        thumbnail=lambda path: _thumbnail(root / path, value_range),
    )


def _classes(root: Path, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Returns the classes; UserError where they are too few, or the images are."""
    classes = tuple(sorted({entry.name for entry in entries}))
    if len(classes) < 2 or len(entries) < FOLDS:
        found = f"{printable(str(root))} has {len(entries)} images of {len(classes)} classes"
        raise UserError(f"{found}; an audit needs {FOLDS} of two")
    return classes


def _learned(weights: str, infos: Sequence[ImageInfo]) -> list[str]:
    """Returns a note where a network was fine-tuned on these images."""
    if not (count := count_learned(weights, (info.sha for info in infos))):
        return []
    return [
        f"{printable(weights)} was fine-tuned on {count:,} of these images and may have learned their wrong labels, "
        "which are then not listed; take a network that has not seen them"
    ]


def _thumbnail(path: Path, value_range: tuple[float, float] | None) -> bytes | None:
    """Returns a small picture of a file, as a JPEG; None if it can't be read."""
    try:
        image = open_image(path, at_least=THUMBNAIL, value_range=value_range).convert("RGB")
    except (BadImage, OSError):
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return content.getvalue()
