"""Weights that another program saved: which architecture they are of, under which names, for which images."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from fcnn import models
from fcnn.models import Classifier
from fcnn.weights.torch_names import COUNTER, array_names, torch_shapes

Arrays = Mapping[str, np.ndarray]
# What data-parallel training, torch.compile and sharding put into names, wherever the wrapped part is.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
COUNT = "n_averaged"  # of torch.optim.swa_utils.AveragedModel: how many states its average is of
SPARE = 12  # arrays that a network may have beyond a file of it: of a head and of auxiliary ones


def plain_names(arrays: Arrays, model: Classifier) -> tuple[dict[str, np.ndarray], str]:
    """Returns arrays under the names of a model's reference implementation, and what was left out of the names that
    they had, "" if nothing was.

    Args:
      arrays: by PyTorch's names, with what a program put before and into them.
      model: what they are of.
    """
    unwrapped, left_out = _unwrap(arrays)
    prefix = _prefix(unwrapped.values(), {name for names in array_names(model) for name in names})
    if len({name.removeprefix(prefix) for name in unwrapped.values()}) < len(unwrapped):
        prefix = ""
    renamed = {new.removeprefix(prefix): arrays[old] for old, new in unwrapped.items()}
    return to_reference(renamed, model), " and ".join([*left_out, *([f"'{prefix}'"] if prefix else [])])


def _unwrap(arrays: Arrays) -> tuple[dict[str, str], list[str]]:
    """Returns each name without what wrappers put into it, and those wrappers."""
    names = [name for name in arrays if name.rpartition(".")[2] != COUNT]
    unwrapped = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in names}
    if len(set(unwrapped.values())) < len(names):  # two networks, perhaps, or it means something else
        return {name: name for name in names}, []
    wrappers = {part for name in names if unwrapped[name] != name for part in WRAPPERS & set(name.split("."))}
    return unwrapped, sorted(f"'{part}.'" for part in wrappers)


def _prefix(names: Any, known: set[str]) -> str:
    """Returns what precedes the names of a network's arrays, or most of them; "" if nothing does."""
    splits = ((name, i) for name in names for i, letter in enumerate(name) if letter == ".")
    prefixes = {name[: i + 1] for name, i in splits if name[i + 1 :] in known}
    return max(["", *sorted(prefixes)], key=lambda prefix: len({name.removeprefix(prefix) for name in names} & known))


def to_reference(state_dict: Arrays, model: Classifier) -> dict[str, np.ndarray]:
    """Returns a state_dict with the reference's names and shapes in place of timm's or another implementation's, where
    they differ; one that has the reference's comes back as it is."""
    shapes, known = torch_shapes(model), array_names(model)
    names = max(known, key=lambda names: len(state_dict.keys() & names.keys()))
    if names is known[0]:
        return dict(state_dict)
    renamed = {}
    for name, array in state_dict.items():
        reference = names.get(name, name)
        renamed[reference] = _with_axes(array, shapes.get(reference, array.shape))
    return renamed


def _with_axes(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array with the axes of `shape`: dense layers as convolutions and the reverse, layer scales without
    axes for the image. It comes back as it is if its elements can't have them."""
    if array.ndim in (0, len(shape)) or not array.size or array.size % (len(array) * math.prod(shape[2:])):
        return array
    return array.reshape(len(array), -1, *shape[2:])


def unsaid_options(arrays: Arrays, renamed: Arrays, model: Classifier, options: Collection[str]) -> list[str]:
    """Returns the model's options that change what weights compute, are not among `options`, and depend on who trained
    them, which names and shapes don't show. torchvision's names do: it has one value of each.

    Args:
      arrays, renamed: before and after `plain_names`.
    """
    own = {field.name for field in dataclasses.fields(model)}
    unsaid = [name for name in ("epsilon", "padding") if name in own and name not in options]
    torchvisions = model.torch_name("head") != model.timm_name("head")
    if torchvisions and all(any(name.endswith(key) for name in arrays) for key in renamed):
        return []
    return unsaid


def input_channels(model: Classifier, arrays: Arrays) -> int:
    """Returns how many channels the images have that weights are for: what the first convolution takes."""
    channels = model.image_shape[2]
    others = [
        arrays[name].shape[1]
        for name, shape in torch_shapes(model).items()
        if len(shape) == 4 and shape[1] == channels and name in arrays and _but_channels(arrays[name].shape, shape)
    ]
    return others[0] if len(others) == 1 else channels


def _but_channels(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two kernels' shapes differ in the number of input channels alone."""
    return len(a) == len(b) and a[1] != b[1] and (a[0], *a[2:]) == (b[0], *b[2:])


def fitting(arrays: Arrays) -> list[str]:
    """Returns the architectures whose arrays have these names and shapes, but for the head and the input channels."""
    names = [name for name in _unwrap(arrays)[0].values() if not name.endswith(COUNTER)]

    def has(model: Classifier, layer: str) -> bool:
        """Whether arrays have a layer, under one of its names."""
        layers = {naming(layer) for naming in model.namings()}
        return any(f".{name}".endswith(f".{layer}.weight") for name in names for layer in layers)

    groups = [(group, models.create(group[0], num_classes=1)) for group in models.variants()]
    headed = [(group, model) for group, model in groups if has(model, "head")]
    begun = [group for group, model in headed or groups if has(model, _first_layer(model))]
    matches = []
    for group in begun:
        for name in group:
            model = models.create(name, num_classes=1)
            if _fits(model, arrays):
                matches.append(name)
            if len(torch_shapes(model)) > len(names) + SPARE:
                break  # those that follow are deeper
    return matches


class _Reached(Exception):
    """A model's first layer with weights; its text is the layer's name."""


def _first_layer(model: Classifier) -> str:
    """Returns the name of a model's first layer with a kernel, in milliseconds: tracing all takes seconds."""

    def stop(method: Any, arguments: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.Conv | nn.Dense):
            raise _Reached("/".join(context.module.path))
        return method(*arguments, **options)

    images = jax.ShapeDtypeStruct((1, *model.image_shape), np.float32)
    try:
        with nn.intercept_methods(stop):
            jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    except _Reached as reached:
        return str(reached)
    raise AssertionError("a model has a layer with a kernel")


def _fits(model: Classifier, arrays: Arrays) -> bool:
    """Whether arrays are all of a model's, but for the head's classes, auxiliary heads and the input channels."""
    wanted = torch_shapes(model)
    shapes = {n: array.shape for n, array in plain_names(arrays, model)[0].items() if not n.endswith(COUNTER)}
    if not any(is_auxiliary(model, name) for name in shapes):
        wanted = {name: shape for name, shape in wanted.items() if not is_auxiliary(model, name)}
    head = model.torch_name("head") + "."
    if head + "weight" not in shapes:
        wanted, shapes = ({n: s for n, s in part.items() if not n.startswith(head)} for part in (wanted, shapes))
    if wanted.keys() != shapes.keys():
        return False
    # The model has one class, so that an array with one row is a classifier's.
    wrong = [n for n, s in wanted.items() if shapes[n] != s and not (s[0] == 1 and shapes[n][1:] == s[1:])]
    if len(wrong) != 1:
        return not wrong
    expected, actual = wanted[wrong[0]], shapes[wrong[0]]
    return expected[1:2] == (model.image_shape[2],) and _but_channels(actual, expected)


def is_auxiliary(model: Classifier, name: str) -> bool:
    """Whether an array belongs to one of a model's auxiliary heads, by PyTorch's name."""
    return name.startswith(tuple(f"{model.torch_name(head)}." for head in model.aux_heads))
