"""The ways to use a trained network for another task: which layers learn, at which rate, and what they start from."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcnn import models
from fcnn.config import TransferConfig
from fcnn.errors import UserError
from fcnn.weights import Network


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a strategy means for a model."""

    endpoint: str | None = None
    """Up to which nothing learns: the model's `frozen`."""
    frozen: frozenset[str] = frozenset()
    """The layers before it."""
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The learning rates of the other layers, as shares of the schedule's, where they aren't 1."""


def make_plan(config: TransferConfig, model: models.Classifier, image_shape: tuple[int, int, int]) -> Plan:
    """Which layers of a model learn, and how fast.

    Raises:
      UserError: the architecture has no part that the strategy could freeze.
    """
    if config.weights is None or config.strategy in ("scratch", "mean_var", "pretrained"):
        return Plan()
    if config.strategy == "auto":
        raise UserError("transfer.strategy auto is decided when a run begins; name one of the others here")
    places = models.endpoints(model, image_shape)
    last = None
    if config.strategy == "head":
        last = places[-1] if places else None
    if config.strategy == "last_block":
        spatial = [place for place in places if len(place.shape) == 3]
        last = spatial[-2] if len(spatial) > 1 else None
    if last is None and config.strategy != "full":
        raise UserError(f"transfer.strategy {config.strategy}: {type(model).__name__} has no body that could be frozen")
    frozen = last.layers if last else frozenset()
    shares = {}
    for distance, group in enumerate(_groups(places)):
        shares |= dict.fromkeys(group - frozen, config.body_rate * config.layer_decay**distance)
    return Plan(last.name if last else None, frozen, shares)


def _groups(places: list[models.Endpoint]) -> list[frozenset[str]]:
    """The layers that lead to each endpoint from the one before, the last first; those without any left out."""
    befores = [frozenset(), *(place.layers for place in places)]
    groups = [after - before for before, after in itertools.pairwise(befores)]
    return [group for group in reversed(groups) if group]


def start_from(
    network: Network,
    classes: tuple[str, ...],
    drawn: Mapping[str, Any],
    strategy: str,
    *,
    seed: int,
    like_head: bool = True,
) -> tuple[dict[str, Any], str]:
    """The variables that a run starts from.

    Args:
      network: the trained one.
      classes: the run's.
      drawn: fresh {"params", "batch_stats"} of the run's model; a head for other classes comes from here.
      strategy: `TransferConfig.strategy`.
      seed: of mean_var.
      like_head: whether the run's head computes what theirs does; else it is a new one too.

    Returns:
      (variables, a sentence on what was kept).

    Raises:
      UserError: arrays that have nothing to do with the classes have another shape; or there is nothing to evaluate.
    """
    theirs, ours = _flat(network.variables), _flat(drawn)
    known, heads = network.about.classes, {path for path in ours if path[-2] in _CLASSIFIERS}
    same = like_head and _keeps_head(known, classes, strategy)
    if wrong := [
        f"{'/'.join(path)} {theirs[path].shape if path in theirs else 'missing'}, must be {leaf.shape}"
        for path, leaf in ours.items()
        if not (path in heads and not same) and (path not in theirs or theirs[path].shape != leaf.shape)
    ]:
        raise UserError(f"transfer.weights don't fit images of this size: {'; '.join(wrong[:3])}")
    count = f"{len(known):,} classes" + (" by number alone" if _numbered(known) else "")
    if strategy == "pretrained" and not like_head:
        raise UserError(
            "transfer.strategy pretrained: the weights' head isn't of this kind (model.options linear_head)"
        )
    if strategy == "pretrained" and not same:
        raise UserError(f"transfer.strategy pretrained: the weights know {count}, and not those of the data")
    if strategy == "mean_var":
        return _mean_var(
            theirs, ours, heads, seed
        ), "Drawn anew with the mean and variance of the weights, array by array."
    taken = {path: leaf if path in heads and not same else jnp.asarray(theirs[path]) for path, leaf in ours.items()}
    why = f"the weights know {count}, not these" if like_head else "that of the weights is of another kind"
    told = "The head is that of the weights too." if same else f"The head is new: {why}."
    return {"params": {}, "batch_stats": {}} | unflatten_dict(taken), told


def _flat(variables: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    return dict(flatten_dict(dict(variables)))


def _keeps_head(theirs: tuple[str, ...], ours: tuple[str, ...], strategy: str) -> bool:
    """Whether the weights' head is one for our classes: their names say it. Numbers may be those of anything, so that
    only someone who asks for the network as it is can mean it."""
    if _numbered(theirs):
        return strategy == "pretrained" and len(theirs) == len(ours)
    return theirs == ours


def _numbered(classes: tuple[str, ...]) -> bool:
    return classes == tuple(map(str, range(len(classes))))


# What the layers that give logits are called: the head, GoogLeNet's and Inception v3's auxiliary ones.
_CLASSIFIERS = ("head", "fc2", "fc")


def _mean_var(
    theirs: Mapping[tuple[str, ...], Any], ours: Mapping[tuple[str, ...], Any], heads: set[tuple[str, ...]], seed: int
) -> dict[str, Any]:
    """Every array drawn from the normal distribution with the mean and variance of the trained one; heads and running
    statistics stay as they were drawn (Raghu et al. 2019, arXiv:1902.07208, section 5.1)."""
    rng = np.random.default_rng(seed)
    made = {}
    for path, leaf in ours.items():
        if path[0] == "batch_stats" or path in heads:
            made[path] = leaf
        else:
            trained = np.asarray(theirs[path], np.float64)
            made[path] = jnp.asarray(rng.normal(trained.mean(), trained.std(), leaf.shape), jnp.float32)
    return {"params": {}, "batch_stats": {}} | unflatten_dict(made)
