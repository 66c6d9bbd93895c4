"""`fcnn search`: many trials with different hyperparameters, compared on the validation split."""

import dataclasses
import importlib.util
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fcnn.cli.parse import PresetArgs, parse, take_option, take_preset
from fcnn.config import Config
from fcnn.config.serialize import options
from fcnn.runtime.ready import get_ready
from fcnn.training.workdir import check_path
from fcnn.utils.errors import UserError, install
from fcnn.utils.text import printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchArgs(PresetArgs):
    """Search for the hyperparameters with the best validation accuracy; the test split is not read. Run the command
    again to resume, with a larger --trials to extend, or on another machine with the same --storage to join the
    search."""

    over: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=SPACE")] = ()
    """An option and the values to search: FIELD=LOW:HIGH, FIELD=log:LOW:HIGH or FIELD=A,B,...; for --sampler
    grid, append :POINTS to a range. May be repeated. By default: the learning rate around the preset's, and weight
    decay."""
    sampler: Literal["random", "grid", "tpe"] = "random"
    """random; grid, all combinations; or tpe, the tree-structured Parzen estimator, which learns from the trials so
    far."""
    trials: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Total number of trials; 20 by default, or the number of points of a grid."""
    workers: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Number of trials to train at the same time, each in a process with its share of the cores."""
    workdir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the search and its trials, also the name of the Optuna study; runs/search-PRESET by default."""
    storage: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """URL of Optuna's database, for several machines (postgresql://...); a SQLite file in the folder by default."""


def search_command(args: list[str]) -> int:
    """`fcnn search --config NAME [--over FIELD=SPACE ...] [options]`."""
    name, preset, rest = take_preset(args, "fcnn search")
    rest, over = _take_over(rest)
    default = SearchArgs(config=preset, preset=name)
    parsed = dataclasses.replace(parse(SearchArgs, rest, "fcnn search", default=default), over=over)
    job = _job(parsed, Path(default.preset).stem)

    from fcnn.search.study import database

    with database(job.storage):
        return _search(job, parsed, preset, shlex.join(["fcnn", "search", *args]))


def _take_over(args: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The arguments without every `--over FIELD=SPACE`, and those."""
    over: list[str] = []
    while True:
        value, args = take_option(args, "--over")
        if value is None:
            return args, tuple(over)
        over.append(value)


def _job(args: SearchArgs, name: str) -> Any:
    """Return the search that the options describe; nothing is written yet."""
    for option in ("trials", "workers"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise UserError(f"--{option} must be at least 1, got {value}")
    if importlib.util.find_spec("optuna") is None:
        raise UserError(f"fcnn search needs Optuna: {install('search')}")

    from fcnn.search.space import default_space, parse_space

    space = tuple(parse_space(args.over, args.config) if args.over else default_space(args.config))
    trials = args.trials or 20
    if args.sampler == "grid":
        points = 1
        for dimension in space:
            points *= len(dimension.grid())
        if args.trials is not None and args.trials != points:
            raise UserError(f"--trials {args.trials}: the grid has {points} points; leave --trials out")
        trials = points
    folder = args.workdir or Path("runs") / f"search-{name}"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir {folder} is a file; it must be a folder")
    check_path(folder, "--workdir")

    from fcnn.search.study import Job, sqlite_url

    storage = args.storage or sqlite_url(folder.absolute() / "study.db")
    return Job(args.config, space, args.sampler, trials, folder.absolute(), storage)


def _search(job: Any, args: SearchArgs, preset: Config, again: str) -> int:
    from fcnn.report.console import Console
    from fcnn.runtime.signals import Stopped
    from fcnn.search.results import describe
    from fcnn.search.study import open_study, results
    from fcnn.search.workers import Workers

    console, began = Console(), time.monotonic()
    job.folder.mkdir(parents=True, exist_ok=True)
    study = open_study(job)
    before = count = len(results(study))
    over = ", ".join(f"{d.option} {d.text}" for d in job.space)
    console.log(f"{job.trials} trials by {job.sampler} search over {over}; {before} done; {_shown(job.folder)}")
    workers = Workers(job, args.workers, run_worker)
    try:
        for trial in console.progress(workers.follow(study), "trials", job.trials - before):
            count += 1
            left = (time.monotonic() - began) / (count - before) * (job.trials - count)
            console.log(f"[{count}/{job.trials}, {_minutes(left)} left] {describe(trial, job.space)}")
        return _conclude(job, args, preset, study, console, failed=workers.failed)
    except Stopped as stopped:  # the workers have saved
        console.log(f"Saved. To continue: {again}")
        return stopped.exit_code


def run_worker(job: Any) -> None:
    """What each worker process does."""
    get_ready()

    from fcnn.search.worker import work

    work(job)


def _conclude(job: Any, args: SearchArgs, preset: Config, study: Any, console: Any, *, failed: bool) -> int:
    """The table, the pictures, and the command for the best."""
    from fcnn.search.results import ranked, table, write_results
    from fcnn.search.space import replaced
    from fcnn.search.study import results

    trials = results(study)
    write_results(job.folder, trials, job.space)
    console.log(table(trials, job.space))
    console.log(
        f"All trials are in {_shown(job.folder)}/trials.csv and search.png; each trial's folder is that of a run"
    )
    if failed:
        print(printable(f"fcnn: a worker failed; see {_shown(job.folder)}/workers.log"), file=sys.stderr)
    best = next((t for t in ranked(trials) if "best" in t.user_attrs), None)
    if best is None:
        print("fcnn: no trial could be trained", file=sys.stderr)
        return 1
    config = replaced(job.config, best.user_attrs["values"])
    words = ["fcnn", "train", "--config", args.preset, *options(preset, config)]
    console.log(f"To train with the best values and evaluate on the test split: {shlex.join(words)}")
    return 1 if failed else 0


def _shown(folder: Path) -> str:
    """Relative where that is shorter."""
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
