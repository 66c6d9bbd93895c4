"""A network layer by layer: shapes, parameters, multiply-adds, memory, and how much of the image each layer sees."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax.ad_checkpoint import checkpoint_name

from fcnn.models.classifier import Classifier
from fcnn.models.trace import Everything, Mark, walk, without_hook
from fcnn.nn import Dropout
from fcnn.utils.html import details, paragraph, table


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer or, if it has no type, an endpoint."""

    name: str
    """Its path, as in the params."""
    type: str
    shape: tuple[int, ...]
    """Of its output for one image: (H, W, C) or (features,)."""
    parameters: int
    multiply_adds: int
    """Of convolutions and dense layers, for one image; biases, normalization, activations and pools count as none."""
    bytes: int
    """Of its output, for one image."""
    field: tuple[int, int] | None
    """Receptive field: height and width of what one output sees, in pixels; None for the whole image."""
    stride: tuple[int, int] | None
    """Pixels between two neighboring outputs; None where there are no positions."""


class Summary(list[Row]):
    """The rows of a network, in the order of computation; a notebook shows them as a table."""

    @property
    def parameters(self) -> int:
        """Returns how many it has."""
        return sum(row.parameters for row in self)

    @property
    def multiply_adds(self) -> int:
        """Returns those of all layers, for one image."""
        return sum(row.multiply_adds for row in self)

    @property
    def bytes(self) -> int:
        """Returns the memory of all layers' outputs, for one image."""
        return sum(row.bytes for row in self if row.type)

    def _repr_html_(self) -> str:
        head = ("layer", "type", "output", "parameters", "multiply-adds")
        rows = [(r.name, r.type, " x ".join(map(str, r.shape)), r.parameters, r.multiply_adds) for r in self if r.type]
        words = f"{self.parameters:,} parameters, {self.multiply_adds / 1e6:,.1f} M multiply-adds for an image"
        return paragraph(words) + details(f"{len(rows)} layers", table(rows, head))


def summarize(model: Classifier, image_shape: tuple[int, int, int] | None = None) -> Summary:
    """Every layer in the order of computation, in evaluation: auxiliary heads, which only training has, are left out.

    Args:
      image_shape: (H, W, C); the model's own if None.

    Raises:
      UserError: the images are too small.
    """
    images = jax.ShapeDtypeStruct((1, *(image_shape or model.image_shape)), jnp.float32)
    model.check_size(*images.shape[1:3], train=False)
    if hasattr(model, "auxiliary"):
        model = model.clone(auxiliary=False)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    calls = 0  # of modules, so far
    types: dict[str, str] = {}  # of the layers by their marks, which endpoints may share the name with

    def mark(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        nonlocal calls
        calls, before = calls + 1, calls + 1
        out, module = call(*args, **kwargs), context.module
        if calls > before or context.method_name != "__call__" or isinstance(module, Dropout):
            return out  # not a layer, but made of layers, or the identity
        name = f"layer {'/'.join(module.path)}"
        types[name] = type(module).__name__
        return checkpoint_name(out, name)

    def apply(variables: Any, images: Any) -> Any:
        with nn.intercept_methods(without_hook), nn.intercept_methods(mark):
            return model.apply(variables, images, train=False)

    counts: dict[str, int] = {}
    flat: dict[tuple[str, ...], Any] = dict(flatten_dict(variables["params"]))
    for path, leaf in flat.items():
        layer = f"layer {'/'.join(path[:-1])}"
        counts[layer] = counts.get(layer, 0) + math.prod(leaf.shape)
    return Summary(_row(entry, types, counts) for entry in walk(apply, variables, images))


def _row(entry: Mark, types: dict[str, str], counts: dict[str, int]) -> Row:
    view = None if isinstance(entry.view, Everything) else entry.view
    return Row(
        name=entry.name.removeprefix("layer "),
        type=types.get(entry.name, ""),
        shape=entry.shape[1:],
        parameters=counts.get(entry.name, 0),
        multiply_adds=entry.multiply_adds,
        bytes=entry.bytes,
        field=None if view is None else (view.high[0] - view.low[0] + 1, view.high[1] - view.low[1] + 1),
        stride=None if view is None else view.step,
    )
