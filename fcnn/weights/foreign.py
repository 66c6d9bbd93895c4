"""Weights that somebody else's program saved: which architecture they are of, under which names, for which images."""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from fcnn import models
from fcnn.models import Classifier
from fcnn.weights.timm_names import as_torchvision
from fcnn.weights.torch_names import COUNTER, torch_shapes

Arrays = Mapping[str, np.ndarray]
# What data-parallel training, torch.compile and sharding put into names, wherever the wrapped part is.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
COUNT = "n_averaged"  # of torch.optim.swa_utils.AveragedModel: how many states its average is of
SPARE = 12  # arrays that a network may have beyond a file of it: of a head and of auxiliary ones


def plain_names(arrays: Arrays, wanted: Iterable[str]) -> tuple[dict[str, np.ndarray], str]:
    """Returns arrays under torchvision's names, and what was left out of the names that they had, "" if nothing was.

    Args:
      arrays: by PyTorch's names, with what a program put before and into them.
      wanted: the names of the network that they are of.
    """
    given = [name for name in arrays if name.rpartition(".")[2] != COUNT]
    unwrapped = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in given}
    if len(set(unwrapped.values())) < len(given):  # two networks, perhaps, or it means something else
        unwrapped = {name: name for name in given}
    left_out = {f"'{part}.'" for old, new in unwrapped.items() if old != new for part in WRAPPERS & set(old.split("."))}
    prefix = _prefix(unwrapped.values(), wanted)
    if len({name.removeprefix(prefix) for name in unwrapped.values()}) < len(given):
        prefix = ""
    renamed = {new.removeprefix(prefix): arrays[old] for old, new in unwrapped.items()}
    return as_torchvision(renamed), " and ".join([*sorted(left_out), *([f"'{prefix}'"] if prefix else [])])


def _prefix(names: Iterable[str], wanted: Iterable[str]) -> str:
    """What stands before the names of a network's arrays, or before most of them; "" if nothing does."""
    given, known = list(names), set(wanted)
    splits = ((name, i) for name in given for i, letter in enumerate(name) if letter == ".")
    found = {name[: i + 1] for name, i in splits if name[i + 1 :] in known}
    return max(["", *sorted(found)], key=lambda prefix: len({name.removeprefix(prefix) for name in given} & known))


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
    names = [name for name in plain_names(arrays, ())[0] if not name.endswith(COUNTER)]

    def has(layer: str) -> bool:
        return any(f".{name}".endswith(f".{layer}.weight") for name in names)

    groups = [(group, models.create(group[0], num_classes=1)) for group in models.depths()]
    headed = [group for group, model in groups if has(model.torch_name("head"))]
    begun = [group for group, model in groups if (group in headed or not headed) and has(_first_layer(model))]
    found = []
    for group in begun:
        for name in group:
            model = models.create(name, num_classes=1)
            if _fits(model, arrays):
                found.append(name)
            if len(torch_shapes(model)) > len(names) + SPARE:
                break  # those that follow are deeper
    return found


class _Reached(Exception):
    """A model's first layer with weights; its text is the layer's name."""


def _first_layer(model: Classifier) -> str:
    """Returns PyTorch's name of a model's first layer, in milliseconds: tracing all of a deep one takes seconds."""

    def stop(method: Any, arguments: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.Conv | nn.Dense):
            raise _Reached("/".join(context.module.path))
        return method(*arguments, **options)

    images = jax.ShapeDtypeStruct((1, *model.image_shape), np.float32)
    try:
        with nn.intercept_methods(stop):
            jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    except _Reached as reached:
        return model.torch_name(str(reached))
    return ""


def _fits(model: Classifier, arrays: Arrays) -> bool:
    wanted = dict(torch_shapes(model))
    given = {name: array.shape for name, array in plain_names(arrays, wanted)[0].items() if not name.endswith(COUNTER)}
    if not any(is_auxiliary(name) for name in given):
        wanted = {name: shape for name, shape in wanted.items() if not is_auxiliary(name)}
    head = model.torch_name("head") + "."
    if head + "weight" not in given:
        wanted, given = ({n: s for n, s in shapes.items() if not n.startswith(head)} for shapes in (wanted, given))
    # The model has one class, so that an array with one row is a classifier's.
    wrong = [
        name
        for name, shape in wanted.items()
        if name in given and given[name] != shape and not (shape[0] == 1 and given[name][1:] == shape[1:])
    ]
    stem = len(wrong) == 1 and wanted[wrong[0]][1:2] == (model.image_shape[2],)
    return wanted.keys() == given.keys() and (not wrong or (stem and _but_channels(given[wrong[0]], wanted[wrong[0]])))


def is_auxiliary(name: str) -> bool:
    """Whether an array belongs to an auxiliary head, in torchvision's GoogLeNet and Inception v3."""
    return name.lower().startswith("aux")
