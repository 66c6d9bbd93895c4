"""`fcnn data`: a look at a data set before anything is trained on it."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import parse
from fcnn.config import DataConfig
from fcnn.errors import UserError, unknown

ACTIONS = ("show", "prepare")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareArgs:
    """Load a data set once, so that the next use of it is quick: fcnn data prepare NAME."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowArgs:
    """Tell what is in a data set, and draw some of it: fcnn data show NAME."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Where to draw images of each class; NAME.png in the current folder if not given."""


def data_command(args: list[str]) -> int:
    """`fcnn data show|prepare NAME [options]`."""
    action, rest = (args[0], args[1:]) if args else ("", [])
    if action in ("-h", "--help"):
        print("usage: fcnn data show NAME [options]\n       fcnn data prepare NAME [options]")
        return 0
    if action not in ACTIONS:
        raise UserError("usage: fcnn data show|prepare NAME" if not args else unknown("action", action, ACTIONS))
    if rest and not rest[0].startswith("-"):
        rest = ["--data.name", *rest]
    elif not {"-h", "--help"} & set(rest):
        raise UserError(f"fcnn data {action} needs the NAME of a data set right after it")
    parsed = parse(ShowArgs if action == "show" else PrepareArgs, rest, f"fcnn data {action}")
    out = _out(parsed) if action == "show" else None

    from fcnn.data import load
    from fcnn.data.show import contact_sheet, describe
    from fcnn.report import Console

    console = Console()
    dataset = load(parsed.data, say=console.say, track=console.track)
    lines = describe(dataset)
    console.say("\n".join(lines if out else lines[:1]))
    if out:
        sheet = contact_sheet(dataset)
        temporary = out.with_name(out.name + ".tmp")
        sheet.save(temporary, "PNG")
        temporary.replace(out)
        console.say(f"Images of each class are in {out}")
    return 0


def _out(parsed: Any) -> Path:
    """Where the contact sheet goes; UserError if it can't go there."""
    if parsed.out is None:
        name = parsed.data.name.rstrip("/").replace("/", ":").split(":")[-1]
        return Path(re.sub(r"[^\w.-]+", "_", name) + ".png")
    if parsed.out.suffix.lower() != ".png":
        raise UserError(f"--out must name a .png file, got {parsed.out}")
    if not parsed.out.parent.is_dir():
        raise UserError(f"--out: there is no folder {parsed.out.parent}")
    return parsed.out
