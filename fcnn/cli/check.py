"""`fcnn check`: find silent bugs before training."""

import dataclasses
import textwrap
from pathlib import Path
from typing import Annotated, Any

import tyro

from fcnn.cli.parse import PresetArgs, parse, take_preset
from fcnn.config import Config
from fcnn.config.presets import read_preset
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError

WIDTH = 118


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckArgs(PresetArgs):
    """Check for silent bugs before training: images, labels, initialization, gradients, first steps, learning rate. The
    exit code is 1 if a check fails. The test split is not read."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for figures (.png) and their data (.csv); runs/check-PRESET by default."""


def check_command(args: list[str]) -> int:
    """`fcnn check --config NAME [options]`."""
    name, config, rest = take_preset(args, "fcnn check")
    default = CheckArgs(config=config, preset=name)
    parsed = parse(CheckArgs, rest, "fcnn check", default=default)
    folder = parsed.out or Path("runs") / f"check-{Path(default.preset).stem}"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; it must be a folder")
    get_ready()
    return _check(parsed.config, parsed.preset, folder)


def _check(config: Config, preset: str, folder: Path) -> int:
    from fcnn.analysis import sanity
    from fcnn.report import Console
    from fcnn.training import run_data
    from fcnn.training.config_notes import config_notes
    from fcnn.training.overrides import Overrides
    from fcnn.training.start import start_state
    from fcnn.transfer import auto

    console = Console()
    overrides = Overrides.of_preset(read_preset(preset), config)
    config = auto.decide(config, console, overrides=overrides).config
    setup = run_data.build(config, console, overrides=overrides)
    for note in config_notes(setup):
        console.log(f"Note: {note}")
    if setup.transferred:
        start_state(setup, console.log)  # says what is kept of the weights and what is trained
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for part in sanity.PARTS.values():
        for result in part(setup, folder, console.log):
            results.append(result)
            console.log(_text(result))
    failed = [result.name for result in results if result.failed]
    console.log(f"Pictures, and their numbers as .csv, are in {folder}")
    verdict = f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}"
    console.log(verdict if failed else f"Nothing wrong was found in {len(results)} checks.")
    return 1 if failed else 0


def _text(result: Any) -> str:
    """A result, and its hint where it failed, with its later lines indented."""
    indent = " " * 25
    text = textwrap.fill(f"{result.verdict}  {result.name:17}  {result.reason}", WIDTH, subsequent_indent=indent)
    if result.failed:
        text += "\n" + textwrap.fill(f"Try: {result.hint}", WIDTH, initial_indent=indent, subsequent_indent=indent)
    return text
