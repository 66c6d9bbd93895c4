"""`fcnn data`: describe, draw or prepare a data set before training."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import asks_for_help, named_options, parse
from fcnn.config import AugmentConfig, DataConfig
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.files import write_bytes

ACTIONS = ("show", "prepare")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareArgs:
    """Prepare a data set, so that later runs start quickly: fcnn data prepare NAME."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowArgs:
    """Describe a data set, and draw images of each class as stored and as augmented: fcnn data show NAME.

    Without any --augment option, images are shifted by up to an eighth of their side, and color images are flipped.
    """

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    """PNG file to write; NAME.png in the current folder by default."""


def data_command(args: list[str]) -> int:
    """`fcnn data show|prepare NAME [options]`."""
    action, rest = (args[0], args[1:]) if args else ("", [])
    if action in ("-h", "--help"):
        print(
            "usage: fcnn data show NAME [options]     describe a data set and draw some of its images\n"
            "       fcnn data prepare NAME [options]  prepare it, so that later runs start quickly"
        )
        return 0
    if action not in ACTIONS:
        raise UserError("usage: fcnn data show|prepare NAME" if not args else unknown("action", action, ACTIONS))
    if rest and not rest[0].startswith("-"):
        rest = ["--data.name", *rest]
    elif not asks_for_help(rest):
        raise UserError(f"fcnn data {action} needs the NAME of a data set right after it")
    parsed = parse(ShowArgs if action == "show" else PrepareArgs, rest, f"fcnn data {action}")
    out = _out(parsed) if action == "show" else None

    from fcnn.data import load
    from fcnn.data.show import describe
    from fcnn.report import Console

    console = Console()
    dataset = load(parsed.data, log=console.log, progress=console.progress)
    lines = describe(dataset)
    console.log("\n".join(lines if out else lines[:1]))
    if out:
        shown = any(name.startswith("augment.") for name in named_options(rest))
        _draw(dataset, parsed.augment if shown else None, out)
        console.log(f"Images of each class, as stored and augmented, are in {out}")
    return 0


def _draw(dataset: Any, config: AugmentConfig | None, out: Path) -> None:
    """Writes the contact sheet; what is there before stays until it's done."""
    from fcnn import augment
    from fcnn.data.show import contact_sheet
    from fcnn.report.files import png

    height, width, channels = dataset.train.shape
    if config is None:
        config = AugmentConfig(crop_padding=max(min(height, width) // 8, 1), flip=channels == 3)
    write_bytes(out, png(contact_sheet(dataset, augment.from_config(config, len(dataset.classes)))))


def _out(parsed: Any) -> Path:
    """Where the contact sheet goes; UserError if it can't go there."""
    if parsed.out is None:
        name = re.split(r"[/:]", parsed.data.name.rstrip("/:"))[-1]
        return Path(re.sub(r"[^\w.-]+", "_", name)[:60] + ".png")
    if parsed.out.suffix.lower() != ".png":
        raise UserError(f"--out must name a .png file, got {parsed.out}")
    if not parsed.out.parent.is_dir():
        raise UserError(f"--out: there is no folder {parsed.out.parent}")
    return parsed.out
