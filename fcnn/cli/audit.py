"""`fcnn audit`: what is doubtful about a folder of photographs."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import parse
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError
from fcnn.utils.text import printable, table

EXAMPLES = 3
"""Labels that are named on the terminal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectionArgs:
    """What was corrected already."""

    corrections: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """Corrected labels, as for fcnn train; the new audit.csv includes them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditArgs:
    """Check every image in a folder for likely wrong labels (by cross-validation on a pretrained network's features),
    duplicates, and odd, blurred, dark or small images. Writes audit.html (report) and audit.csv (edit it, then pass it
    to fcnn train --data.corrections)."""

    photos: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS")]
    """A folder with a subfolder of images for each class, or with such folders for train, val and test."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder to write to; audits/NAME-001, audits/NAME-002, ... by default."""
    weights: Annotated[str, tyro.conf.arg(metavar="NAME|FILE|WORKDIR")] = "efficientnet_lite0"
    """The network that computes the features: a name from `fcnn zoo`, a weight file or a run's folder."""
    data: CorrectionArgs = dataclasses.field(default_factory=CorrectionArgs)


def audit_command(args: list[str]) -> int:
    """`fcnn audit PHOTOS [--out DIR] [--weights NAME] [--data.corrections FILE.csv]`."""
    parsed = parse(AuditArgs, args, "fcnn audit")
    photos = parsed.photos.expanduser()
    if not photos.is_dir():
        from fcnn.data.layout import no_folder

        raise UserError(no_folder(photos))
    from fcnn.report.audit import PAGE, TABLE, folder_name, write_page, write_table

    if parsed.out is not None and (present := parsed.out / TABLE).exists():
        raise UserError(f"{present} is there already, perhaps with your corrections; take another --out")
    get_ready()

    from fcnn.analysis.audit import audit_folder
    from fcnn.report import Console
    from fcnn.training import workdir

    console, corrections = Console(), parsed.data.corrections
    audit = audit_folder(
        photos,
        weights=parsed.weights,
        corrections=None if corrections is None else str(corrections),
        log=console.log,
        progress=console.progress,
    )
    out = parsed.out or workdir.fresh(Path("audits"), folder_name(photos))
    command = shlex.join(["fcnn", "train", str(parsed.photos), "--data.corrections", str(out / TABLE)])
    write_page(out / PAGE, audit, printable(command), console.progress)
    write_table(out / TABLE, audit)
    for line in _lines(audit):
        console.log(line)
    console.log(f"\nOpen {out / PAGE}, correct the column label in {out / TABLE}, then run:\n  {printable(command)}")
    return 0


def _lines(audit: Any) -> list[str]:
    """Returns what was seen, in a few lines."""
    from fcnn.report.audit import KINDS

    lines = [
        *map(printable, audit.notes),
        f"A cross-validated classifier agrees with {100 * audit.accuracy:.1f} % of the labels.",
    ]
    if not audit.issues:
        return [*lines, "Nothing is doubtful."]
    lines.append(table([[f"  {KINDS[kind][0]}", f"{count:,}"] for kind, count in audit.counts().items()]))
    labels = [issue for issue in audit.issues if issue.kind == "wrong label"][:EXAMPLES]
    return lines + [
        f"  {printable(one.path)}: rather {printable(one.suggested)} ({printable(one.details)})" for one in labels
    ]
