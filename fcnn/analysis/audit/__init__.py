"""What is doubtful about a folder of images by class: likely wrong labels, duplicates, odd and bad photographs."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fcnn.analysis.audit.issues import copy_issues, label_doubts, odd_issues, quality_issues, unreadable_issues
from fcnn.analysis.audit.look import look_at
from fcnn.data.audit import measure_range
from fcnn.data.decode import BadImage, open_image
from fcnn.data.fingerprint import duplicates
from fcnn.data.folder import scan_folder
from fcnn.data.label_issues import FEWEST, judged_classes
from fcnn.data.parallel import Progress
from fcnn.report.audit import THUMBNAIL, Audit
from fcnn.training.linear_probe import FOLDS, fit_linear_probe
from fcnn.training.pretrained import load_network
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable

WEIGHTS = "efficientnet_lite0"
"""The network of whose features everything is measured, unless another is named; it is installed with fcnn."""


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
    classes = tuple(sorted({entry.name for entry in entries}))
    name = printable(str(root))
    if len(classes) < 2 or len(entries) < FOLDS:
        raise UserError(f"{name} has {len(entries)} images of {len(classes)} classes; an audit needs {FOLDS} of two")
    log(f"{len(entries):,} images of {len(classes):,} classes in {name}; features of {weights}.")
    pairs, groups = duplicates([(info.hash, info.fine_hash) for info in infos])
    value_range = measure_range(entries, infos)
    paths = [root / entry.path for entry in entries]
    features, qualities, failed = look_at(paths, network, value_range, progress)
    labels = np.asarray([classes.index(entry.name) for entry in entries], np.int64)
    probe = fit_linear_probe(features, labels, len(classes), groups, progress=progress)
    issues = [
        *label_doubts(entries, classes, labels, probe.logits, groups),
        *copy_issues(entries, infos, pairs),
        *quality_issues(entries, infos, qualities, min(network.info.image_shape[:2])),
        *odd_issues(entries, features, groups),
        *unreadable_issues(folder.bad),
    ]
    notes = [folder.note] if folder.note else []
    judged = judged_classes(labels, groups, len(classes))
    if few := [printable(classes[i]) for i in np.flatnonzero(~judged)]:
        notes.append(f"Classes with fewer than {FEWEST} different images, whose labels can't be judged: {join(few)}")
    if failed:
        notes.append(f"Changed while they were read, and not judged: {join(map(printable, failed))}")
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
