"""Trained networks by the name of what they are in: a run's folder, an export, a file from somewhere else."""

from pathlib import Path

from fcnn import workdir as folder
from fcnn.checkpoint import Checkpoints
from fcnn.config import ModelConfig
from fcnn.errors import UserError
from fcnn.weights import About, Network, check_same, read_network


def load_network(where: str, model: ModelConfig | None = None) -> Network:
    """A trained network.

    Args:
      where: the folder of a run, whose best state on validation it is, or a file (`fcnn.weights.read_network`).
      model: what the weights must be of; what they are of, where a file doesn't say it. None takes what there is.

    Raises:
      UserError: there is no such network.
    """
    path = Path(where).expanduser()
    if not path.is_dir():
        return read_network(path, model)
    config, facts = folder.read_config(path), folder.read_data(path)
    if model is not None:
        check_same(config.model, model, where)
    if facts is None:
        raise UserError(f"there is no checkpoint in {path} yet")
    with Checkpoints(path / "checkpoints", keep_latest=1, keep_best=1, read_only=True) as checkpoints:
        step = checkpoints.chosen_step()
        if step is None:
            raise UserError(f"there is no checkpoint in {path} yet")
        variables = checkpoints.read_variables(step)
    about = About(
        model=config.model,
        classes=tuple(facts["classes"]),
        image_shape=tuple(facts["image_shape"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )
    return Network(about=about, variables=variables)
