"""`fcnn train`: a preset, changed by the options given, to a trained network."""

import contextlib
import dataclasses
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from fcnn.cli.parse import asks_for_help, named_options, parse, take_option
from fcnn.cli.photos import BEFORE, config_for, folder_of, leave_model
from fcnn.cli.results import log_comparison, log_result, log_seeds
from fcnn.cli.train_args import TrainArgs, check_distributed, parse_seeds
from fcnn.config import Config, presets
from fcnn.runtime.ready import get_ready
from fcnn.utils.errors import UserError


def train_command(args: list[str]) -> int:
    """`fcnn train --config NAME [options]`, or `fcnn train PHOTOS [options]`."""
    began = time.perf_counter()
    name, rest = take_option(args, "--config")
    photos = folder_of(rest) if name is None and rest[:1] and rest[0] not in presets.names() else None
    if photos is not None:
        rest = rest[1:]
    elif name is None and not asks_for_help(args):
        known = presets.names()
        if args and (args[0] in known or args[0].endswith(".py")):
            raise UserError(f"pass the preset with --config: fcnn train --config {shlex.join(args)}")
        if args and not args[0].startswith("-"):
            raise UserError(f"there is no folder {args[0]}; presets are passed with --config: {', '.join(known)}")
        raise UserError(
            f"fcnn train needs --config NAME, --config FILE.py or a folder of images; presets: {', '.join(known)}"
        )
    preset = None if name is None else presets.read_preset(name)
    config = preset.config if preset is not None else Config() if photos is None else BEFORE
    default = TrainArgs(config=config, preset=name or (photos.resolve().name if photos else "NAME"))
    parsed = parse(TrainArgs, rest, "fcnn train", default=default)
    seeds = parse_seeds(parsed.seeds)
    check_distributed(parsed)
    suggestion = None
    if photos is not None:
        strategy, others = take_option(rest, "--transfer.strategy")
        config, suggestion = config_for(photos, parsed, named_options(rest), began)
        default = dataclasses.replace(default, config=config)
        parsed = parse(TrainArgs, others if strategy == "auto" else rest, "fcnn train", default=default)
    elif parsed.minutes is not None:
        raise UserError("--minutes belongs to fcnn train PHOTOS; a preset has --train.epochs")
    elif parsed.from_ is not None:
        raise UserError("--from belongs to fcnn train PHOTOS; a preset has --transfer.weights and --data.splits")

    from fcnn.training import workdir

    is_new = parsed.workdir is None
    folder = parsed.workdir or workdir.fresh(Path("runs"), Path(default.preset).stem)
    again = _again([str(photos)] if photos else ["--config", default.preset], rest, folder)
    try:
        code, leave = _train(parsed, folder, seeds, again, preset, suggestion), photos is not None and seeds is None
        if leave and code == 0:
            leave_model(folder, suggestion, began, stderr=parsed.json)
        return code
    except UserError:
        if is_new:
            with contextlib.suppress(OSError):  # not empty: something was kept after all
                folder.rmdir()
        raise


def _train(
    args: TrainArgs, folder: Path, seeds: list[int] | None, again: str, preset: presets.Preset | None, suggestion: Any
) -> int:
    """Runs the loop, once or once for each seed, and says how it ended."""
    get_ready()

    from fcnn.distributed import processes
    from fcnn.report import Console
    from fcnn.runtime.signals import Interrupted, Stopped
    from fcnn.training.metric_log import NonFinite

    if args.distributed:
        processes.join(args.coordinator, args.num_processes, args.process_id)
    console = Console(stderr=args.json, quiet=not processes.is_first())
    args = dataclasses.replace(args, json=args.json and processes.is_first())
    try:
        if seeds is None:
            record = {"workdir": str(folder)} | _run(args.config, folder, console, preset, suggestion)
        else:
            runs = []
            for seed in seeds:
                config = dataclasses.replace(args.config, seed=seed)
                runs.append({"seed": seed} | _run(config, folder / f"seed-{seed}", console, preset, suggestion))
            record = log_seeds(runs, folder, console)
    except Interrupted as interrupted:
        console.log(f"Saved. To continue: {again}")
        return interrupted.exit_code
    except Stopped as stopped:
        console.log(f"Stopped. To continue: {again}")
        return stopped.exit_code
    except NonFinite as error:
        console.log(f"fcnn: {error}")
        return 1
    if args.json:
        print(json.dumps(record))
    return 0


def _run(
    config: Config, folder: Path, console: Any, preset: presets.Preset | None, suggestion: Any = None
) -> dict[str, Any]:
    """Trains, and once more for `transfer.compare`; returns the test record, with the other's as "compared".

    Args:
      suggestion: the `photos.Suggestion` that the config comes from, if it does.
    """
    from fcnn.training import trainer
    from fcnn.training.overrides import Overrides
    from fcnn.transfer import auto
    from fcnn.transfer.earlier import compare_with_earlier

    overrides = Overrides() if preset is None else Overrides.of_preset(preset, config)
    config, choice, probe = auto.decide(config, console, folder, overrides)
    held_out = None
    if suggestion is not None:
        choice = suggestion.choice
        is_same = dataclasses.replace(config, seed=suggestion.config.seed) == suggestion.config
        probe, held_out = (suggestion.probe, suggestion.held_out) if is_same else (None, None)
    callbacks = () if preset is None else preset.callbacks(config)
    record = trainer.train(
        config,
        folder,
        console,
        overrides=overrides,
        callbacks=callbacks,
        choice=choice,
        probe=probe,
        held_out=held_out,
    )
    log_result(record, config, folder, console)
    if preset is None and (earlier := compare_with_earlier(config, folder, console)) is not None:
        record |= {"earlier": earlier}
    if (compare := config.transfer.compare) is None:
        return record
    fresh = {"head_init": "random", "freeze_batch_norm": False} if compare in ("scratch", "mean_var") else {}
    transfer = dataclasses.replace(config.transfer, strategy=compare, compare=None, **fresh)
    rival = dataclasses.replace(config, transfer=transfer)
    console.log(f"\nThe same by {compare}, to compare:")
    other = trainer.train(rival, folder / compare, console, overrides=overrides, callbacks=callbacks)
    log_result(other, rival, folder / compare, console)
    log_comparison(config, record, other, console)
    return record | {"compared": {"strategy": compare} | other}


def _again(source: list[str], args: list[str], folder: Path) -> str:
    """Returns the command that continues this run."""
    _, others = take_option(args, "--workdir")
    # By the interpreter at work: the environment may not be active, and `fcnn` not on the PATH.
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    program = [python, sys.argv[0]] if sys.argv[0].endswith("train.py") else [python, "-m", "fcnn", "train"]
    return shlex.join([*program, *source, *others, "--workdir", str(folder)])
