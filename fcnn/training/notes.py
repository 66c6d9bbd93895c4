"""What a run says before its first step: what it is, and what a person should know of it."""

from fcnn.distributed import sharding
from fcnn.distributed.device_memory import num_elements
from fcnn.training import workdir as folder
from fcnn.training.config_notes import config_notes
from fcnn.training.metrics import wilson
from fcnn.training.run_data import PIPELINES
from fcnn.training.setup import TrainSetup
from fcnn.training.state import TrainState
from fcnn.utils.text import printable

FEW = 50
"""With fewer validation images their accuracy is worth a line."""


def introduction(setup: TrainSetup, state: TrainState) -> list[str]:
    """Returns the lines that a run begins with."""
    data, mesh, parallel_config = setup.dataset, setup.mesh, setup.config.parallel
    parameters = num_elements(state.params)
    lines = [
        f"{model_name(setup)}, {parameters:,} parameters, on {data.name}: {len(data.train):,} training, "
        f"{len(data.validation):,} validation, {len(data.test):,} test images; {setup.total_steps:,} steps on "
        f"{mesh.size} x {mesh.devices.flat[0].device_kind} by {parallel_config.mode}, {PIPELINES[data.pipeline]}, "
        f"convolutions by {sharding.convolutions(mesh, parallel_config)}"
    ]
    notes = [*data.notes]
    if 0 < len(data.validation) < FEW:
        notes.append(few_images(len(data.validation)))
    notes += config_notes(setup)
    if data.skipped:
        names = ", ".join(map(printable, data.skipped[:3])) + (" ..." if len(data.skipped) > 3 else "")
        lines.append(f"Left out {len(data.skipped)} files that can't be read: {names} (all in {folder.DATA})")
    return lines + [f"Note: {note}" for note in notes]


def model_name(setup: TrainSetup) -> str:
    """Returns the architecture's name, or the class of a user's own module."""
    return setup.config.model.name if setup.overrides.model is None else type(setup.overrides.model).__name__


def few_images(count: int) -> str:
    """Returns how little the accuracy on `count` validation images means, by an example."""
    hits = round(0.8 * count)
    low, high = wilson(hits, count)
    return (
        f"the best epoch is chosen by {count} validation images, which is few: {hits} of {count} right is an accuracy "
        f"with a 95 % CI of {100 * low:.0f} to {100 * high:.0f} %"
    )
