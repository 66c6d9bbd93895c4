"""The images of a run, those that it began with, normalized as it has always normalized them; its setup with them."""

import dataclasses
from pathlib import Path

from fcnn.config import Config
from fcnn.data import Dataset, RunFiles, load
from fcnn.data.manifest import Manifest
from fcnn.distributed import processes, sharding
from fcnn.distributed.device_memory import check_fits, num_bytes, num_elements
from fcnn.report import Console
from fcnn.training import workdir as folder
from fcnn.training.overrides import Overrides
from fcnn.training.pretrained import source_of
from fcnn.training.setup import TrainSetup, make_setup
from fcnn.utils.errors import UserError

PIPELINES = {"device": "images on the device", "stream": "images streamed"}


def build(
    config: Config, console: Console, workdir: Path | None = None, overrides: Overrides | None = None
) -> TrainSetup:
    """Loads the data of a run and works out what its config means for them.

    Args:
      workdir: the run's folder, whose data are those that it began with; None for a run without one.

    Raises:
      UserError: the config doesn't fit the data, the devices or their memory, or the weights can't be had.
    """
    overrides = overrides or Overrides()
    if workdir is not None and (facts := folder.read_data(workdir)) is not None:
        folder.check_same_overrides(workdir, facts, overrides.names())
    dataset = load_for_all(config, workdir, console, overrides.dataset)
    setup = make_setup(config, dataset, sharding.make_mesh(), overrides=overrides)
    _check_memory(setup)
    return setup


def _check_memory(setup: TrainSetup) -> None:
    """UserError if the memory can't hold the state of a run and its gradients."""
    state = setup.abstract_state()
    check_fits(
        num_bytes((state, state.params)),
        setup.mesh,
        f"{num_elements(state.params):,} parameters with gradients and optimizer state take",
        "take a smaller network (--model.width-multiplier)",
    )


def load_for_all(config: Config, workdir: Path | None, console: Console, dataset: Dataset | None = None) -> Dataset:
    """Loads the data of a run, new or to be continued, in every process alike.

    Args:
      workdir: the run's folder; None for a run without one.
      dataset: the user's own, in place of what the config names.
    """
    loaded = processes.in_turn(lambda: load_run_data(config, workdir, console, exact=True, dataset=dataset))
    pipeline = list(PIPELINES)[processes.of_first(list(PIPELINES).index(loaded.pipeline))]
    with processes.together():
        if pipeline != loaded.pipeline:  # "auto" looks at the memory, and the hosts may differ in it
            data = dataclasses.replace(config.data, pipeline=pipeline)
            loaded = load_run_data(dataclasses.replace(config, data=data), workdir, console, exact=True)
    return loaded


def load_run_data(
    config: Config, workdir: Path | None, console: Console, *, exact: bool, dataset: Dataset | None = None
) -> Dataset:
    """Loads the data of a run.

    Args:
      exact: whether every image must be the same as when the run began.
      dataset: as for `load_for_all`.

    Raises:
      UserError: the images aren't there, or aren't those that the run began with.
    """
    facts, settings = None if workdir is None else folder.read_data(workdir), config.data
    if dataset is not None:
        return dataset if facts is None else dataset.as_in(facts, str(workdir))
    if facts is not None and exact:  # whatever this machine's memory: the pipeline decides where random crops are cut
        settings = dataclasses.replace(settings, pipeline=facts["pipeline"])
    run = None
    if workdir is not None and facts is not None and settings.name.startswith("folder:"):
        manifest = Manifest.from_csv(folder.read_splits(workdir), str(workdir / folder.SPLITS))
        run = RunFiles(manifest, facts["image_shape"][2], exact)
        if not Path(settings.name.removeprefix("folder:")).expanduser().is_dir():
            raise UserError(
                f"the images of the run in {workdir} are no longer in {settings.name.removeprefix('folder:')}; "
                "pass their new place with --data.name folder:PATH"
            )
    info, value_range = None, settings.value_range or (None if facts is None else facts.get("value_range"))
    if facts is None and (info := source_of(config)) is not None:
        value_range = value_range or info.value_range
    if value_range and settings.name.startswith("folder:"):
        settings = dataclasses.replace(settings, value_range=tuple(value_range))
    dataset = load(settings, run=run, log=console.log, progress=console.progress)
    if info is not None and config.data.mean is None:
        dataset = dataset.normalized_by(info.mean, info.std)
    return dataset if facts is None else dataset.as_in(facts, str(workdir))
