"""Trained networks by name: the zoo's, or that of what they are in, a run's folder or anyone's file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from fcnn import registry, zoo
from fcnn.config import Config, ModelConfig
from fcnn.training import workdir as folder
from fcnn.training.calibration_file import read_calibration
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.text import join
from fcnn.weights import Network, NetworkInfo, check_same, read_network


def load_network(
    source: str,
    model: ModelConfig | None = None,
    *,
    head: bool = True,
    ema: bool = True,
    module: nn.Module | None = None,
) -> Network:
    """A trained network.

    Args:
      source: the name of one in the zoo (`./NAME` for a folder of that name), downloaded if need be; the folder of a
        run, whose best weights on validation it is; a file (`fcnn.weights.read_network`); an architecture, for the
        most accurate weights of it in the zoo; or a name on the Hugging Face hub, "timm/resnet50.a1_in1k".
      model: what the weights must be of; what they are of, where a file doesn't say it. None takes what there is.
      head, ema: as for `read_network`.
      module: the user's own Linen module, for a run or a file of one.

    Raises:
      UserError: there is no such network.
    """
    path = Path(source).expanduser()
    entry = zoo.TABLE.get(source)
    if entry is None and source in registry.MODELS and not path.exists():
        entry = zoo.most_accurate(source)
    if entry is not None:
        if model is not None:
            check_same(entry.model, ModelConfig(name=model.name), source)
        return _named(read_network(zoo.obtain(entry), model or entry.model), entry)
    if zoo.is_on_hub(source) and not path.exists():
        path = zoo.obtain_from_hub(source)
    if path.name == source and not path.suffix and not path.exists():
        raise UserError(unknown("network", source, zoo.TABLE) + " (or give a weight file or a run's folder)")
    if not path.is_dir():
        return read_network(path, model, head=head, ema=ema, module=module)
    return _of_run(path, source, model, module)


def _of_run(path: Path, source: str, model: ModelConfig | None, module: nn.Module | None) -> Network:
    """Returns the network of a run's folder, which `source` names; the rest as for `load_network`."""
    from fcnn.training.checkpoint import Checkpoints  # Orbax is slow to import

    config, facts = folder.read_config(path), folder.read_data(path)
    if model is not None:
        check_same(config.model, model, source)
    if facts is None:
        raise UserError(f"there is no checkpoint in {path} yet")
    folder.check_same_overrides(path, facts, ["model"] if module is not None else [], needed=["model"])
    with Checkpoints(path / "checkpoints", max_to_keep=1, keep_best=1, read_only=True) as checkpoints:
        step, variables, weights = checkpoints.read_best()
        notes = [note for note in (checkpoints.note(),) if note]
    calibration = read_calibration(path, step, weights, len(facts["classes"]), notes.append)
    try:
        info = NetworkInfo(
            model=ModelConfig() if module is not None else config.model,
            module="" if module is None else type(module).__name__,
            classes=tuple(facts["classes"]),
            image_shape=tuple(facts["image_shape"]),
            mean=tuple(facts["mean"]),
            std=tuple(facts["std"]),
            value_range=tuple(facts["value_range"]) if facts.get("value_range") else None,
            weights=weights,
            calibration=calibration,
        )
    except ValueError as error:
        raise UserError(f"{path / folder.DATA} is damaged: {error}") from None
    if module is None:
        network, (height, width, _) = info.create(), info.image_shape
        images = jax.ShapeDtypeStruct((1, height, width, len(info.mean)), np.float32)
        check_shapes(
            jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), images), variables, str(path)
        )
    return Network(info=info, variables=variables, module=module, notes=tuple(notes))


def check_shapes(wanted: Mapping[str, Any], variables: Mapping[str, Any], source: str) -> None:
    """UserError unless the arrays in a run's checkpoint are those of the network that its folder, `source`,
    describes."""
    arrays: list[dict[str, Any]] = [dict(flatten_dict(dict(tree), sep="/")) for tree in (wanted, variables)]
    a, b = ({name: array.shape for name, array in of.items()} for of in arrays)
    if wrong := [name for name in a | b if a.get(name) != b.get(name)]:
        raise UserError(f"{source}: the checkpoint doesn't fit the config and the data of the run: {join(wrong, 3)}")


def _named(network: Network, entry: zoo.Entry) -> Network:
    """Returns a network of the zoo with what its file doesn't say: the classes, and how photographs are read."""
    if network.info.named:
        return network
    classes = zoo.class_names(entry.classes) or network.info.classes
    height, width, channels = network.info.image_shape
    info = dataclasses.replace(
        network.info,
        classes=classes,
        named=bool(entry.classes),
        image_shape=(entry.image_size or height, entry.image_size or width, channels),
        crop=entry.crop,
        interpolation=entry.interpolation,
    )
    return dataclasses.replace(network, info=info, notes=())  # nothing about a known file has to be guessed


def source_of(config: Config) -> NetworkInfo | None:
    """Returns what is known of the network whose weights, and so whose normalization, a run of this config starts
    from; None without one."""
    transfer = config.transfer
    if transfer.weights is None or transfer.strategy == "scratch":
        return None
    return load_network(transfer.weights, config.model, head=False).info
