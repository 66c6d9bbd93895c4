"""PyTorch's state_dict and our variables: the same numbers under other names and in another order of axes."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcnn import models
from fcnn.utils.errors import UserError

# Our names of a layer's arrays: PyTorch's.
ARRAYS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTER = "num_batches_tracked"  # PyTorch's batch norm counts its updates; nothing here uses the count


def from_torch(
    name: str,
    state_dict: Mapping[str, np.ndarray],
    *,
    image_shape: tuple[int, int, int] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Our variables from a state_dict of the reference implementation (torchvision's; for the CIFAR ResNets
    github.com/akamaster/pytorch_resnet_cifar10's; for Inception v2 Cadene's pretrained-models.pytorch's).

    Args:
      name: the architecture, as for `models.create`.
      state_dict: NumPy arrays by PyTorch's names, in PyTorch's layout: kernels (out, in, height, width), dense (out,
        in). The number of classes is what its classifier has.
      image_shape: (H, W, C) of the images; the model's own, `model.image_shape`, if None.
      options: fields of the model that change its layers, as for `models.create`: `auxiliary=False` for an Inception
        without its auxiliary heads.

    Returns:
      {"params": ..., "batch_stats": ...} of NumPy arrays, of the types given; views of them where possible.

    Raises:
      UserError: arrays are missing, left over, or of another shape than the model's; all of them are named.

    PyTorch's running variance is the unbiased one, and what training with `fcnn` goes on to average is the biased one,
    as everywhere in JAX: they differ by n / (n - 1) for n values a channel.
    """
    return fit(lambda classes: models.create(name, num_classes=classes, **options), state_dict, name, image_shape)


def fit(
    create: Callable[[int], models.Classifier],
    state_dict: Mapping[str, np.ndarray],
    name: str,
    image_shape: tuple[int, int, int] | None = None,
    *,
    head: bool = True,
) -> dict[str, Any]:
    """`from_torch` for any model: `create(num_classes)` makes it, `name` is what messages call it, and without `head`
    the variables have none, and what the state_dict has in its place is left out."""
    layer = create(1).torch_name("head")
    if head and f"{layer}.weight" not in state_dict:
        raise UserError(f"these are no weights of {name}: they have no '{layer}.weight', only {_some(state_dict)}")
    names = _names(create(len(state_dict[f"{layer}.weight"]) if head else 1), image_shape)
    given = {key: np.asarray(value) for key, value in state_dict.items() if not key.endswith(COUNTER)}
    if not head:
        names = {path: named for path, named in names.items() if path[1] != "head"}
        given = {key: value for key, value in given.items() if not key.startswith(f"{layer}.")}
    if missing := [theirs for theirs, _ in names.values() if theirs not in given]:
        raise UserError(f"weights of {name} are missing: {_some(missing)}")
    if extra := given.keys() - {theirs for theirs, _ in names.values()}:
        raise UserError(f"{name} has no place for these weights: {_some(sorted(extra))}")
    flat, wrong = {}, []
    for ours, (theirs, shape) in names.items():
        flat[ours] = _transpose(given[theirs], to_torch=False)
        if flat[ours].shape != shape:
            wrong.append(f"{theirs} is {given[theirs].shape}, must be {_torch_shape(shape)}")
    if wrong:
        raise UserError(f"weights of {name} have another shape: {_some(wrong, '; ')}")
    return {"params": {}, "batch_stats": {}} | unflatten_dict(flat)


def to_torch(name: str, variables: Mapping[str, Any], **options: Any) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`: NumPy arrays by PyTorch's names in PyTorch's layout, contiguous.

    Every batch norm also gets PyTorch's count of its updates, 0.

    Raises:
      UserError: the variables aren't those of the model.
    """
    return unfit(lambda classes: models.create(name, num_classes=classes, **options), variables, name)


def unfit(create: Callable[[int], models.Classifier], variables: Mapping[str, Any], name: str) -> dict[str, np.ndarray]:
    """`to_torch` for any model, with the arguments of `fit`."""
    given: dict[tuple[str, ...], Any] = dict(flatten_dict({key: variables[key] for key in variables}))
    head = given.get(("params", "head", "bias"))
    if head is None:
        raise UserError(f"these are no variables of {name}: they have no 'head'")
    names = _names(create(len(head)))
    if different := names.keys() ^ given.keys():
        raise UserError(f"these are not the variables of {name}: {_some(sorted('/'.join(path) for path in different))}")
    state = {}
    for ours, (theirs, _) in names.items():
        state[theirs] = np.ascontiguousarray(_transpose(np.asarray(given[ours]), to_torch=True))
        if ours[-1] == "var":
            state[theirs.removesuffix(ARRAYS["var"]) + COUNTER] = np.zeros((), np.int64)
    return state


def torch_shapes(model: models.Classifier) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a model's arrays in PyTorch's layout, by PyTorch's names."""
    return {name: _torch_shape(shape) for name, shape in _names(model).values()}


def _trace(
    model: models.Classifier, image_shape: tuple[int, int, int] | None = None
) -> dict[tuple[str, ...], tuple[str, tuple[int, ...]]]:
    """Every array of a model by its path, with PyTorch's name and our shape."""
    images = jax.ShapeDtypeStruct((1, *(image_shape or model.image_shape)), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    flat: dict[tuple[str, ...], Any] = dict(flatten_dict(shapes))
    return {
        path: (f"{model.torch_name('/'.join(path[1:-1]))}.{ARRAYS[path[-1]]}", leaf.shape)
        for path, leaf in flat.items()
    }


# Tracing a deep network takes seconds.
_names: Callable[..., dict[tuple[str, ...], tuple[str, tuple[int, ...]]]] = functools.lru_cache(maxsize=64)(_trace)


def _transpose(array: np.ndarray, *, to_torch: bool) -> np.ndarray:
    """Kernels (out, in, height, width) <-> (height, width, in, out), dense (out, in) <-> (in, out)."""
    if array.ndim == 4:
        return array.transpose((3, 2, 0, 1) if to_torch else (2, 3, 1, 0))
    return array.T


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]


def _some(words: Any, separator: str = ", ") -> str:
    """The first of many names."""
    words = list(words)
    return separator.join(map(str, words[:8])) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
