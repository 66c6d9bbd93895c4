"""`fcnn check`: what is wrong with a run, before hours go into it."""

import dataclasses
import textwrap
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import PresetArgs, parse, take_preset
from fcnn.config import Config
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError

WIDTH = 118


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckArgs(PresetArgs):
    """Look for what goes wrong silently, before training: images, labels, initialization, gradients, the first steps,
    the learning rate. Exit code 1 if something is wrong. The test split stays unread."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where pictures and their numbers go; runs/check-NAME if not given."""


def check_command(args: list[str]) -> int:
    """`fcnn check --config NAME [options]`."""
    name, config, rest = take_preset(args, "fcnn check")
    default = CheckArgs(config=config, preset=name)
    parsed = parse(CheckArgs, rest, "fcnn check", default=default)
    folder = parsed.out or Path("runs") / f"check-{Path(default.preset).stem}"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; it must be a folder")
    get_ready()
    return _check(parsed.config, folder)


def _check(config: Config, folder: Path) -> int:
    from fcnn.analysis import sanity
    from fcnn.report import Console
    from fcnn.training import trainer
    from fcnn.transfer import auto

    console = Console()
    config, _ = auto.decide(config, console)
    setup = trainer.build(config, console)
    if setup.transferred:
        setup.start_state(console.log)  # says what is kept of the weights and what is trained
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for part in sanity.PARTS.values():
        for line in part(setup, folder):
            lines.append(line)
            console.log(_told(line))
    failed = [line.name for line in lines if line.failed]
    console.log(f"Pictures, and their numbers as .csv, are in {folder}")
    verdict = f"{len(failed)} of {len(lines)} checks failed: {', '.join(failed)}"
    console.log(verdict if failed else f"Nothing wrong was found in {len(lines)} checks.")
    return 1 if failed else 0


def _told(line: Any) -> str:
    """A line, and its remedy where it is needed, with its later lines indented."""
    indent = " " * 25
    text = textwrap.fill(f"{line.verdict}  {line.name:17}  {line.reason}", WIDTH, subsequent_indent=indent)
    if line.failed:
        text += "\n" + textwrap.fill(f"Try: {line.hint}", WIDTH, initial_indent=indent, subsequent_indent=indent)
    return text
