"""The ways to use a trained network for another task: which layers learn, at which rate, and what they start from."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcnn import models
from fcnn.config import TransferConfig
from fcnn.utils.errors import UserError
from fcnn.utils.text import join, printable
from fcnn.weights import Network, NetworkInfo, adapt_input, match_classes
from fcnn.weights.torch_names import gives_logits


@dataclasses.dataclass(frozen=True)
class Trainable:
    """Which layers of a model learn, and how fast."""

    endpoint: str | None = None
    """Up to which nothing learns: the model's `frozen`."""
    frozen: frozenset[str] = frozenset()
    """The layers before it."""
    lr_scales: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The learning rates of the other layers, relative to the schedule's, where they aren't 1."""


def find_trainable(config: TransferConfig, model: nn.Module, image_shape: tuple[int, int, int]) -> Trainable:
    """Returns which layers of a model a strategy trains, and how fast.

    Raises:
      UserError: the architecture has no part that the strategy could freeze.
    """
    if config.weights is None or config.strategy in ("scratch", "mean_var", "pretrained"):
        return Trainable()
    if config.strategy == "auto":
        raise UserError("transfer.strategy auto is decided when a run begins; name one of the others here")
    places = models.endpoints(model, image_shape)
    last = None
    if config.strategy == "head":
        last = places[-1] if places else None
    if config.strategy == "last_block":
        spatial = [endpoint for endpoint in places if len(endpoint.shape) == 3]
        last = spatial[-2] if len(spatial) > 1 else None
    if last is None and config.strategy != "full":
        raise UserError(
            f"transfer.strategy {config.strategy}: {type(model).__name__} has no backbone that can be frozen"
        )
    frozen = last.layers if last else frozenset()
    lr_scales = {}
    for distance, group in enumerate(_groups(places)):
        lr_scales |= dict.fromkeys(group - frozen, config.backbone_lr_scale * config.layer_decay**distance)
    return Trainable(last.name if last else None, frozen, lr_scales)


def _groups(places: list[models.Endpoint]) -> list[frozenset[str]]:
    """The layers that lead to each endpoint from the one before, the last first; those without any left out."""
    befores = [frozenset(), *(endpoint.layers for endpoint in places)]
    groups = [after - before for before, after in itertools.pairwise(befores)]
    return [group for group in reversed(groups) if group]


def start_from(
    network: Network,
    classes: tuple[str, ...],
    fresh: Mapping[str, Any],
    strategy: str,
    *,
    seed: int,
    same_head: bool = True,
) -> tuple[dict[str, Any], str]:
    """Returns the variables that a run starts from.

    The head's rows belong to classes by name (`fcnn.weights.match_classes`): a class that the network knows keeps its
    row, another one gets a fresh row.

    Args:
      network: the trained one.
      classes: the run's.
      fresh: {"params", "batch_stats"} of the run's model as they were drawn.
      strategy: `TransferConfig.strategy`.
      seed: of mean_var.
      same_head: whether the run's head computes what the network's does; if not, all of its rows are fresh.

    Returns:
      (variables, a sentence on what was kept).

    Raises:
      UserError: arrays have another shape; or the strategy is pretrained and the network doesn't know every class.
    """
    source, target = _flat(network.variables), _flat(fresh)
    source, adapted = _adapt_input(source, target)
    heads = {path for path in target if gives_logits(path)}
    rows = _match(network.info, classes, strategy, same_head)
    new_head = strategy == "mean_var" or set(rows) == {None}
    _check_shapes(source, target, heads, new_head)
    if strategy == "mean_var":
        variables = _mean_var(source, target, heads, seed)
        return variables, adapted + "Drawn anew with the mean and variance of the weights, array by array."
    variables = {
        path: jnp.asarray(source[path]) if path not in heads else leaf if new_head else _rows(source[path], leaf, rows)
        for path, leaf in target.items()
    }
    message = "The head is new: it is of another kind."
    if same_head or not network.info.classes:
        message = _head_message(network.info, classes, rows)
    return {"params": {}, "batch_stats": {}} | unflatten_dict(variables), adapted + message


def _adapt_input(
    source: dict[tuple[str, ...], Any], target: Mapping[tuple[str, ...], Any]
) -> tuple[dict[tuple[str, ...], Any], str]:
    """Returns the weights with the first convolution's kernel for the run's images, and a sentence if it changed."""
    wrong = [path for path, leaf in target.items() if path in source and source[path].shape != leaf.shape]
    convs = [path for path in wrong if path[-1] == "kernel" and target[path].ndim == source[path].ndim == 4]
    if len(convs) != 1 or not 1 <= target[convs[0]].shape[2] != source[convs[0]].shape[2]:
        return source, ""
    before, after = source[convs[0]].shape[2], target[convs[0]].shape[2]
    kernel = adapt_input(source[convs[0]], after)
    if kernel is None:
        return source, ""
    change = "summed" if after == 1 else f"repeated and multiplied by {before}/{after}"
    message = f"The first convolution has {after} input channels instead of {before}: its kernel is {change}. "
    return source | {convs[0]: kernel}, message


def _flat(variables: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    return dict(flatten_dict(dict(variables)))


def _match(info: NetworkInfo, classes: tuple[str, ...], strategy: str, same_head: bool) -> tuple[int | None, ...]:
    """Returns, for each class, its row in the network's head, or None for a fresh one.

    Numbers may be those of anything. Only who asks for the network as it is can mean that they are the data's.
    """
    if strategy != "pretrained":
        return match_classes(info.names, classes) if same_head else (None,) * len(classes)
    if not same_head:
        raise UserError(
            "transfer.strategy pretrained: the weights' head is of another kind (model.options.linear-head)"
        )
    if not info.classes:
        raise UserError("transfer.strategy pretrained: the weights have no head")
    if not info.named and len(info.classes) == len(classes):
        return tuple(range(len(classes)))
    if not info.named:
        raise UserError(
            f"transfer.strategy pretrained: the weights have {len(info.classes):,} classes without names, the data "
            f"{len(classes):,}; {_NAME_THEM}"
        )
    rows = match_classes(info.names, classes)
    if missing := [name for name, row in zip(classes, rows, strict=True) if row is None]:
        raise UserError(f"transfer.strategy pretrained: the weights don't know {join(map(printable, missing))}")
    return rows


_NAME_THEM = "fcnn convert FILE --labels LABELS.txt names them, one a line"


def _check_shapes(
    source: Mapping[tuple[str, ...], Any],
    target: Mapping[tuple[str, ...], Any],
    heads: set[tuple[str, ...]],
    new_head: bool,
) -> None:
    """UserError naming the arrays that don't fit; a head's last axis is the classes."""
    wrong = []
    for path, leaf in target.items():
        if path in heads and new_head:
            continue
        there = source[path].shape if path in source else None
        fits = there == leaf.shape if path not in heads else there is not None and there[:-1] == leaf.shape[:-1]
        if not fits:
            wrong.append(f"{'/'.join(path)} {there or 'missing'}, must be {leaf.shape}")
    if wrong:
        raise UserError(f"transfer.weights don't fit images of this size: {'; '.join(wrong[:3])}")


def _rows(source: Any, fresh: Any, rows: tuple[int | None, ...]) -> jax.Array:
    """Returns `fresh` (..., classes) with the rows of the classes that `source` (..., known classes) has."""
    result, places = np.array(fresh), [i for i, row in enumerate(rows) if row is not None]
    result[..., places] = np.asarray(source)[..., [row for row in rows if row is not None]]
    return jnp.asarray(result)


def _head_message(info: NetworkInfo, classes: tuple[str, ...], rows: tuple[int | None, ...]) -> str:
    new, known = [name for name, row in zip(classes, rows, strict=True) if row is None], len(info.classes)
    if not known:
        return "The head is new: the weights have none."
    if not info.named:
        if not new:
            return (
                "The head is that of the weights, whose classes have no names: output 0 is taken for the first class."
            )
        return f"The head is new: the weights' classes have no names; {_NAME_THEM}."
    if len(new) == len(classes):
        return f"The head is new: the weights know {known:,} other classes."
    if new:
        num_kept, names = len(classes) - len(new), join(map(printable, new))
        return f"The head keeps {num_kept:,} of the weights' {known:,} classes and has {len(new):,} new: {names}."
    if len(classes) < known:
        return f"The head keeps {len(classes):,} of the weights' {known:,} classes."
    return "The head is that of the weights" + (", its classes reordered." if rows != tuple(range(known)) else ".")


def _mean_var(
    source: Mapping[tuple[str, ...], Any],
    target: Mapping[tuple[str, ...], Any],
    heads: set[tuple[str, ...]],
    seed: int,
) -> dict[str, Any]:
    """Returns every array drawn from the normal distribution with the mean and variance of the trained one; heads and
    running statistics stay as they were drawn (Raghu et al. 2019, arXiv:1902.07208, section 5.1)."""
    rng = np.random.default_rng(seed)
    variables = {}
    for path, leaf in target.items():
        if path[0] == "batch_stats" or path in heads:
            variables[path] = leaf
        else:
            trained = np.asarray(source[path], np.float64)
            variables[path] = jnp.asarray(rng.normal(trained.mean(), trained.std(), leaf.shape), jnp.float32)
    return {"params": {}, "batch_stats": {}} | unflatten_dict(variables)
