"""The `fcnn` command: the only file that knows tyro.

What the user got wrong is answered here before jax is imported, in a line or two, with exit code 2.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fcnn import __version__, presets
from fcnn.config import Config, flatten
from fcnn.errors import UserError, unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train a network: a preset, changed by the options given. The same --workdir again goes on from its newest
    checkpoint."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: Annotated[str, tyro.conf.arg(name="config", metavar="NAME|FILE.py")]
    """A shipped preset by name, or a file that defines CONFIG."""
    workdir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run's folder; a new numbered one under runs/ if not given."""
    seeds: Annotated[str | None, tyro.conf.arg(metavar="N,N,...")] = None
    """Repeat the run with each of these seeds and report mean and standard deviation of the test accuracy."""
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateArgs:
    """Evaluate a run: its best checkpoint by validation accuracy, or its newest if it held out no validation split."""

    workdir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WORKDIR")]
    """The run's folder."""
    split: Literal["test", "validation", "train"] = "test"
    """Which images."""
    json: bool = False
    """Print the result as one JSON object on standard output; everything else goes to standard error."""


def train_command(args: list[str]) -> int:
    """`fcnn train --config NAME [options]`."""
    name, rest = _take_option(args, "--config")
    if name is None and not {"-h", "--help"} & set(args):
        raise UserError(f"fcnn train needs --config NAME or --config FILE.py; presets: {', '.join(presets.names())}")
    config = presets.load_preset(name) if name is not None else Config()
    default = TrainArgs(config=config, preset=name or "NAME")
    parsed = _parse(TrainArgs, rest, "fcnn train", default=default)
    seeds = _seeds(parsed.seeds)

    from fcnn import workdir

    made = parsed.workdir is None
    folder = parsed.workdir or workdir.fresh(Path("runs"), Path(default.preset).stem)
    try:
        return _train(parsed, folder, seeds, again=_again(rest, default.preset, folder))
    except UserError:
        if made:
            with contextlib.suppress(OSError):  # not empty: something was kept after all
                folder.rmdir()
        raise


def _train(args: TrainArgs, folder: Path, seeds: list[int] | None, again: str) -> int:
    """Runs the loop, once or once for each seed, and says how it ended."""
    from fcnn import loop
    from fcnn.interrupt import Interrupted
    from fcnn.meter import NonFinite
    from fcnn.report import Console

    console = Console(stderr=args.json)
    try:
        if seeds is None:
            found = loop.train(args.config, folder, console)
            _tell_result(found, folder, args, console)
            return 0
        runs = []
        for seed in seeds:
            config = dataclasses.replace(args.config, seed=seed)
            found = loop.train(config, folder / f"seed-{seed}", console)
            _tell_result(found, folder / f"seed-{seed}", args, console, quiet_json=True)
            runs.append({"seed": seed} | found)
    except Interrupted as interrupted:
        console.say(f"Saved. To go on: {again}")
        return interrupted.exit_code
    except NonFinite as error:
        console.say(f"fcnn: {error}")
        return 1
    _tell_seeds(runs, folder, args, console)
    return 0


def _tell_result(found: dict[str, Any], folder: Path, args: TrainArgs, console: Any, quiet_json: bool = False) -> None:
    hits = round(found["top1"] * found["count"])
    best = "the best on validation"
    if not args.config.data.validation:
        best = "the last, as there is no validation split: the curves show the training split"
    console.say(
        f"Test accuracy {100 * found['top1']:.2f} % ({hits} of {found['count']}), loss {found['loss']:.4f}, with the "
        f"state of epoch {found['epoch']:g}, {best}. "
        f"Checkpoints, metrics.jsonl, tensorboard/ and curves.png are in {folder}"
    )
    if args.json and not quiet_json:
        print(json.dumps({"workdir": str(folder)} | found))


def _tell_seeds(runs: list[dict[str, Any]], folder: Path, args: TrainArgs, console: Any) -> None:
    accuracies = [run["top1"] for run in runs]
    summary = {
        "workdir": str(folder),
        "n": len(runs),
        "mean": statistics.fmean(accuracies),
        "std": statistics.stdev(accuracies) if len(runs) > 1 else 0.0,
        "runs": runs,
    }
    console.say(
        f"Test accuracy over {len(runs)} seeds: mean {100 * summary['mean']:.2f} %, standard deviation "
        f"{100 * summary['std']:.2f} points ({', '.join(f'{100 * a:.2f}' for a in accuracies)}); runs are in {folder}"
    )
    if args.json:
        print(json.dumps(summary))


def evaluate_command(args: list[str]) -> int:
    """`fcnn evaluate WORKDIR [--split test] [--json]`."""
    parsed = _parse(EvaluateArgs, args, "fcnn evaluate")

    from fcnn import workdir

    workdir.read_config(parsed.workdir)  # a wrong folder is answered before jax is imported

    from fcnn import loop
    from fcnn.report import Console

    console = Console(stderr=parsed.json)
    found = loop.evaluate(parsed.workdir, parsed.split, console)
    if parsed.json:
        print(json.dumps({"workdir": str(parsed.workdir)} | found))
    else:
        console.say(
            f"{parsed.split} split, {found['count']} images, state of epoch {found['epoch']:g}: "
            f"top-1 {100 * found['top1']:.2f} %, top-5 {100 * found['top5']:.2f} %, loss {found['loss']:.4f}"
        )
    return 0


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train_command, "train a network from a preset: fcnn train --config resnet"),
    "evaluate": (evaluate_command, "evaluate a run: fcnn evaluate runs/resnet-001"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 1 failed, 2 the user's mistake, 128 + signal interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    command = args[0] if args else "--help"
    try:
        if command in ("-h", "--help"):
            print("usage: fcnn COMMAND [options]; fcnn COMMAND --help tells its options\n")
            print("\n".join(f"  {name:10} {text}" for name, (_, text) in COMMANDS.items()))
            return 0
        if command == "--version":
            print(f"fcnn {__version__}")
            return 0
        if command not in COMMANDS:
            raise UserError(unknown("command", command, COMMANDS))
        return COMMANDS[command][0](args[1:])
    except UserError as error:
        print(f"fcnn: {error}", file=sys.stderr)
        return 2


def _take_option(args: list[str], option: str) -> tuple[str | None, list[str]]:
    """The value of `option VALUE` or `option=VALUE`, and the other arguments."""
    for i, arg in enumerate(args):
        if arg == option:
            if i + 1 == len(args):
                raise UserError(f"{option} needs a value")
            return args[i + 1], args[:i] + args[i + 2 :]
        if arg.startswith(option + "="):
            return arg.removeprefix(option + "="), args[:i] + args[i + 1 :]
    return None, args


def _parse(kind: Any, args: list[str], program: str, **default: Any) -> Any:
    """tyro's parse, with its boxed complaints as a line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed, extra = tyro.cli(kind, args=args, prog=program, return_unknown_args=True, **default)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_one_line(complaint.getvalue())) from None
    if extra:
        word = extra[0].split("=")[0]
        if not word.startswith("-"):
            raise UserError(f"unexpected argument {word!r}; {program} --help tells the options")
        raise UserError(unknown("option", word, _options(kind)))
    return parsed


def _one_line(box: str) -> str:
    """The sentence inside one of tyro's boxes, in terms of what would have been right."""
    # A title or a top border, a rule, the sentence over some lines, another rule, hints; in Unicode or in ASCII.
    lines = [line.strip("│| ") for line in box.splitlines()]
    rules = [i for i, line in enumerate(lines) if line and set(line[:2] + line[-2:]) <= set("╭─╮╰╯-+")]
    sentence = lines[rules[0] + 1 : rules[1]] if len(rules) > 1 else lines
    text = " ".join(line for line in sentence if line)
    complaints = {"a number": "could not convert string to float", "a whole number": "invalid literal for"}
    for kind, complaint in complaints.items():
        if found := re.match(rf"Error parsing (--\S+): {complaint}.*: ('.*')$", text):
            return f"{found[1]} takes {kind}, got {found[2]}"
    return re.sub(r"^Error parsing (config[\w.]*: )?", "", text)


def _options(kind: Any) -> list[str]:
    """The options of a dataclass of arguments, as they are typed."""
    names = {field.name for field in dataclasses.fields(kind)}
    if kind is TrainArgs:
        names = names - {"preset"} | set(flatten(Config()))
    return [f"--{name.replace('_', '-')}" for name in names]


def _seeds(text: str | None) -> list[int] | None:
    """ "0,1,2" as a list of seeds."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UserError(f"--seeds must be whole numbers with commas between them, like 0,1,2; got {text!r}")
    seeds = [int(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds names a seed twice: {text}")
    return seeds


def _again(args: list[str], preset: str, folder: Path) -> str:
    """The command that goes on with this run."""
    _, others = _take_option(args, "--workdir")
    # By the interpreter at work: the environment may not be active, and `fcnn` not on the PATH.
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    program = [python, sys.argv[0]] if sys.argv[0].endswith("train.py") else [python, "-m", "fcnn", "train"]
    return shlex.join([*program, "--config", preset, *others, "--workdir", str(folder)])
