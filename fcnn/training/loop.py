"""Training and evaluating the run in a folder: its data, its config made real, and its `Run`, to the end."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcnn.config import Config, DataConfig
from fcnn.data import Dataset, RunFiles, load
from fcnn.data.manifest import Manifest
from fcnn.distributed import processes, sharding
from fcnn.report import Console, read_records
from fcnn.report.page import FILE as PAGE
from fcnn.report.records import Record
from fcnn.runtime.signals import Interrupt, Interrupted
from fcnn.training import auto
from fcnn.training import workdir as folder
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.metric_log import NonFinite
from fcnn.training.pretrained import source_of
from fcnn.training.setup import TrainSetup, make_setup
from fcnn.training.trainer import PIPELINES, BestWeights, Run, best_weights, evaluate_best, tested
from fcnn.utils.errors import UserError


def train(
    config: Config,
    workdir: Path,
    console: Console,
    *,
    test: bool = True,
    judge: Callable[[Record], None] | None = None,
) -> Record:
    """Trains to the end of the run in `workdir`, from its newest checkpoint if it has one.

    Args:
      test: whether to read the test split at the end. Without it the run stays open: the same call with it goes on from
        there.
      judge: is shown the record of each evaluation on validation that isn't the last; what it raises ends the run.

    Returns:
      Without `test` the record of the best evaluation on validation; else
      the test record: {"kind": "test", "split": "test", "weights", "step", "checkpoint" (the step of the state that
      was tested), "epoch" (that state's), "count", "loss", "top1", "top5", "interval", "recall", "images" (as
      `experiment.detail` has them), "convolutions" (what computed them), "skipped" (how many files were left out)}.

    Raises:
      UserError: the folder belongs to another config, or the config doesn't fit the data or the devices.
      NonFinite: the loss or a gradient stopped being a number.
      Interrupted: a signal (see `fcnn.runtime.signals`) came in training; the state is saved.
      Stopped: it came before or after that; there was nothing to save.
    """
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        config = folder.resolved(config)
        with processes.together():
            folder.check(workdir, config)
        setup, choice = build(config, console, workdir)
        if (done := max((r["step"] for r in read_records(workdir)), default=0)) > setup.total_steps:
            raise UserError(
                f"the run in {workdir} has {done} steps already, more than the {setup.total_steps} asked for"
            )
        if (result := _finished(setup, workdir)) is not None:
            console.log(f"The run in {workdir} is finished.")
            return result
        with processes.together():
            if processes.is_first():
                stack.enter_context(folder.claim(workdir, config))
                manifest = setup.dataset.manifest
                folder.write_data(workdir, setup.dataset.facts(), None if manifest is None else manifest.to_csv())
                if choice is not None:
                    folder.write_choice(workdir, choice)
        checkpoints = stack.enter_context(_checkpoints(config, workdir))
        stack.enter_context(processes.bound(NonFinite, Interrupted))
        run = Run(setup, workdir, checkpoints, console, test=test, judge=judge)
        with run.records, console.progress_bar(total=setup.total_steps, done=run.step):
            try:
                return run.train(interrupt)
            except NonFinite as error:
                checkpoints.wait()
                last = next(reversed(checkpoints.steps()), None)
                kept = "There is no checkpoint yet" if last is None else f"The checkpoint of step {last} stays"
                raise NonFinite(f"{error}\n{kept}; {workdir}") from None


def build(config: Config, console: Console, workdir: Path | None = None) -> tuple[TrainSetup, dict[str, Any] | None]:
    """Returns what a run of the config is: its data as the run normalizes them, its network and what of it is trained;
    `Experiment.first_state` is where it starts.

    Args:
      workdir: the run's folder, whose data and strategy are those that it began with; None for a new run.

    Returns:
      (the experiment, what to keep of the choice where `transfer.strategy` is auto).

    Raises:
      UserError: the config doesn't fit the data or the devices, or the weights can't be had.
    """
    dataset = processes.in_turn(lambda: _load(config, workdir, console, exact=True))
    pipeline = list(PIPELINES)[processes.of_first(list(PIPELINES).index(dataset.pipeline))]
    with processes.together():
        if pipeline != dataset.pipeline:  # "auto" looks at the memory, and the processes' hosts need not have the same
            again = dataclasses.replace(config, data=dataclasses.replace(config.data, pipeline=pipeline))
            dataset = _load(again, workdir, console, exact=True)
    decided, choice = _decide(config, dataset, workdir, console)
    return make_setup(decided, dataset, sharding.make_mesh()), choice


def evaluate(workdir: Path, split: str, console: Console, *, data: DataConfig | None = None) -> Record:
    """Evaluates a run's best weights on a split (`run.best_weights`).

    Args:
      split: "train", "validation" or "test".
      data: where the run's images are now; None for where they were.

    Returns:
      {"kind": "evaluation", "split", "weights", "step", "epoch", "count", "loss", "top1", "top5", "interval",
      "recall", "images" (as `experiment.detail` has them)}.
    """
    setup, best = restore(workdir, console, split, data=data)
    return evaluate_best(setup, best, split) | {"kind": "evaluation"}


def restore(
    workdir: Path, console: Console, split: str, *, data: DataConfig | None = None
) -> tuple[TrainSetup, BestWeights]:
    """Returns what the run in a folder is about, and its best weights.

    Args:
      split: which images are wanted.
      data: where the run's images are now; None for where they were.

    Raises:
      UserError: the split has no image, or the run's images aren't there.
    """
    config = folder.read_config(workdir)
    if data is not None:
        config = dataclasses.replace(config, data=data)
    facts = folder.read_data(workdir)
    if facts is None:
        raise UserError(f"there is no checkpoint in {workdir} yet")
    counts = {name: sum(images) for name, images in facts["images"].items()}
    if not counts[split]:
        others = " and ".join(f"--split {name}" for name, count in counts.items() if count)
        raise UserError(f"the run in {workdir} held out no {split} split (data.val-fraction 0); {others} have images")
    dataset = _load(config, workdir, console, exact=False)
    if not len(getattr(dataset, split)):
        raise UserError(f"the run in {workdir} has none of its {counts[split]:,} {split} images left")
    decided = _decide(config, dataset, workdir, console)[0]
    setup = make_setup(decided, dataset, sharding.make_mesh(), num_train=counts["train"])
    with _checkpoints(config, workdir, read_only=True) as checkpoints:
        return setup, best_weights(checkpoints, setup.init_state(), console)


def _load(config: Config, workdir: Path | None, console: Console, *, exact: bool) -> Dataset:
    """The run's data, normalized as the run has always normalized it; `exact` if every image must be the same."""
    facts, settings = None if workdir is None else folder.read_data(workdir), config.data
    if facts is not None and exact:  # whatever this machine's memory: the feed decides where random crops are cut
        settings = dataclasses.replace(settings, pipeline=facts.get("feed", settings.pipeline))
    run = None
    if workdir is not None and facts is not None and settings.name.startswith("folder:"):
        manifest = Manifest.from_csv(folder.read_splits(workdir), str(workdir / folder.SPLITS))
        run = RunFiles(manifest, facts["image_shape"][2], exact)
        if not Path(settings.name.removeprefix("folder:")).expanduser().is_dir():
            raise UserError(
                f"the images of the run in {workdir} are not in {settings.name.removeprefix('folder:')} any more; "
                "--data.name folder:PATH names where they are now"
            )
    about, value_range = None, settings.value_range or (None if facts is None else facts.get("value_range"))
    if facts is None and (about := source_of(config)) is not None:
        value_range = value_range or about.value_range
    if value_range and settings.name.startswith("folder:"):
        settings = dataclasses.replace(settings, value_range=tuple(value_range))
    dataset = load(settings, run=run, log=console.log, progress=console.progress)
    if about is not None and config.data.mean is None:
        dataset = dataset.normalized_by(about.mean, about.std)
    return dataset if facts is None else dataset.as_in(facts, str(workdir))


def _decide(
    config: Config, dataset: Dataset, workdir: Path | None, console: Console
) -> tuple[Config, dict[str, Any] | None]:
    """The config with the strategy that the run has where it says auto, and what to keep of the choice."""
    if config.transfer.strategy != "auto":
        return config, None
    choice = None if workdir is None else folder.read_choice(workdir)
    if choice is None:
        choice = dataclasses.asdict(auto.choose(config, dataset))
    console.log(f"Strategy {choice['strategy']}: {choice['reason']}.")
    return auto.decided(config, choice["strategy"]), choice


def _checkpoints(config: Config, workdir: Path, *, read_only: bool = False) -> Checkpoints:
    latest, best = config.train.max_to_keep, config.train.keep_best
    return Checkpoints(workdir / "checkpoints", max_to_keep=latest, keep_best=best, read_only=read_only)


def _finished(setup: TrainSetup, workdir: Path) -> Record | None:
    """The test record of a run that has its length and its page already."""
    return tested(read_records(workdir), setup.total_steps) if (workdir / PAGE).exists() else None
