"""PyTorch's state_dict and our variables: the same numbers under other names and in another order of axes."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcnn import models
from fcnn.utils.errors import UserError

# Our names of a layer's arrays: PyTorch's.
ARRAYS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# A parameter of the block in PyTorch: the layer's name is the array's. (C, 1, 1) in torchvision, where it is called
# layer_scale; (C,) in timm.
LAYER_SCALE = "gamma"
COUNTER = "num_batches_tracked"  # PyTorch's batch norm counts its updates; nothing here uses the count
Path = tuple[str, ...]
HEAD: Path = ("params", "head", "kernel")


def from_torch(
    name: str,
    state_dict: Mapping[str, np.ndarray],
    *,
    image_shape: tuple[int, int, int] | None = None,
    head: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Our variables from a state_dict of the reference implementation (torchvision's, or timm's where torchvision has
    none; for the CIFAR ResNets github.com/akamaster/pytorch_resnet_cifar10's, for the wide ones
    github.com/xternalz/WideResNet-pytorch's; for Inception v2 Cadene's pretrained-models.pytorch's).

    Args:
      name: the architecture, as for `models.create`.
      state_dict: NumPy arrays by PyTorch's names, in PyTorch's layout: kernels (out, in, height, width), dense (out,
        in). The number of classes is what its classifier has.
      image_shape: (H, W, C) of the images; the model's own, `model.image_shape`, if None.
      head: whether to read the classifier; without, the variables have none.
      options: fields of the model that change its layers, as for `models.create`: `auxiliary=False` for an Inception
        without its auxiliary heads.

    Returns:
      {"params": ..., "batch_stats": ...} of NumPy arrays, of the types given; views of them where possible.

    Raises:
      UserError: arrays are missing, left over, or of another shape than the model's; all of them are named.

    PyTorch's running variance is the unbiased one, and training with `fcnn` then averages the biased one,
    as everywhere in JAX: they differ by n / (n - 1) for n values a channel.
    """
    model = models.create(name, num_classes=1, **options)
    layer = model.torch_name("head")
    arrays = {key: np.asarray(value) for key, value in state_dict.items() if not key.endswith(COUNTER)}
    if head:
        if f"{layer}.weight" not in arrays:
            raise UserError(f"these are no weights of {name}: they have no '{layer}.weight', only {_some(state_dict)}")
        model = model.clone(num_classes=len(arrays[f"{layer}.weight"]))
    names = torch_names(model, image_shape)
    if not head:
        names = {path: entry for path, entry in names.items() if path[1] != "head"}
        arrays = {key: array for key, array in arrays.items() if not key.startswith(f"{layer}.")}
    if missing := [key for key, _ in names.values() if key not in arrays]:
        raise UserError(f"weights of {name} are missing: {_some(missing)}")
    if extra := arrays.keys() - {key for key, _ in names.values()}:
        raise UserError(f"{name} has no place for these weights: {_some(sorted(extra))}")
    if wrong := [
        f"{key} is {arrays[key].shape}, must be {shape}" for key, shape in names.values() if arrays[key].shape != shape
    ]:
        raise UserError(f"weights of {name} have another shape: {_some(wrong, '; ')}")
    if head and model.conv_head:
        arrays[f"{layer}.weight"] = arrays[f"{layer}.weight"][:, :, 0, 0]
    variables = unflatten_dict({path: _from_torch_layout(arrays[key], path[-1]) for path, (key, _) in names.items()})
    return {"params": {}, "batch_stats": {}} | variables


def to_torch(name: str, variables: Mapping[str, Any], **options: Any) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`: NumPy arrays by PyTorch's names in PyTorch's layout, contiguous.

    Every batch norm also gets PyTorch's count of its updates, 0.

    Raises:
      UserError: the variables aren't those of the model.
    """
    arrays: dict[Path, Any] = dict(flatten_dict(dict(variables)))
    bias = arrays.get(("params", "head", "bias"))
    if bias is None:
        raise UserError(f"these are no variables of {name}: they have no 'head'")
    names = torch_names(models.create(name, num_classes=len(bias), **options))
    if different := names.keys() ^ arrays.keys():
        raise UserError(f"these are not the variables of {name}: {_some(sorted('/'.join(path) for path in different))}")
    state = {}
    for path, (key, shape) in names.items():
        array = np.asarray(arrays[path])
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        state[key] = np.ascontiguousarray(array if array.ndim == len(shape) else array.reshape(shape))
        if path[-1] == "var":
            state[key.removesuffix(ARRAYS["var"]) + COUNTER] = np.zeros((), np.int64)
    return state


def torch_names(
    model: models.Classifier, image_shape: tuple[int, int, int] | None = None
) -> dict[Path, tuple[str, tuple[int, ...]]]:
    """Returns, for every array of a model by its path, PyTorch's name and its shape in PyTorch's layout.

    Args:
      image_shape: as for `from_torch`.
    """
    names = _traced_names(model.clone(num_classes=1), image_shape or model.image_shape)
    rows = {path: shape for path, (_, shape) in names.items() if gives_logits(path)}
    return names | {path: (names[path][0], (model.num_classes, *shape[1:])) for path, shape in rows.items()}


def gives_logits(path: Path) -> bool:
    """Whether an array is of a layer that gives logits: of the head, GoogLeNet's or Inception v3's auxiliary ones."""
    return path[-2] == "head" or (path[1].startswith("aux") and path[-2] in ("fc2", "fc"))


def _trace(model: models.Classifier, image_shape: tuple[int, int, int]) -> dict[Path, tuple[str, tuple[int, ...]]]:
    """Returns `torch_names` of a model with one class: the same for any number of them, but for the rows of the
    logits."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    leaves: dict[Path, Any] = dict(flatten_dict(shapes))
    names = {}
    for path, shape in ((path, leaf.shape) for path, leaf in leaves.items()):
        name = _array_name(path, model.torch_name)
        in_torch = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
        image_axes = name.endswith("layer_scale") or (path == HEAD and model.conv_head)
        names[path] = name, (*in_torch, 1, 1) if image_axes else in_torch
    return names


def _array_name(path: Path, layer_name: Callable[[str], str]) -> str:
    """Returns PyTorch's name of an array, from its layer's."""
    layer = layer_name("/".join(path[1:-1]))
    return layer if path[-1] == LAYER_SCALE else f"{layer}.{ARRAYS[path[-1]]}"


# Tracing a deep network takes seconds.
_traced_names: Callable[..., dict[Path, tuple[str, tuple[int, ...]]]] = functools.lru_cache(maxsize=64)(_trace)


def torch_shapes(model: models.Classifier) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a model's arrays in PyTorch's layout, by PyTorch's names."""
    return dict(torch_names(model).values())


def array_names(model: models.Classifier) -> list[dict[str, str]]:
    """Returns, for each of `Classifier.namings`, the names of a model's arrays there, each with the reference's."""
    names = torch_names(model).items()
    return [{_array_name(path, naming): name for path, (name, _) in names} for naming in model.namings()]


def _from_torch_layout(array: np.ndarray, name: str) -> np.ndarray:
    """Kernels (out, in, height, width) -> (height, width, in, out), dense (out, in) -> (in, out), layer scales
    -> (C,)."""
    if name == LAYER_SCALE:
        return array.reshape(-1)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _some(words: Collection[str], separator: str = ", ") -> str:
    """The first of many names."""
    return separator.join(list(words)[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
