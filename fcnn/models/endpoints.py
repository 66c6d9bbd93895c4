"""The places in a network that have a name, in their order, the layers that lead to each, and what comes out there."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A place in a network that has a name."""

    name: str
    shape: tuple[int, ...]
    """Of one image's activation there."""
    layers: frozenset[str]
    """The layers that come before it: names in the top level of the variables."""


def endpoints(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Endpoint]:
    """Returns the endpoints of a model in their order, for images (H, W, C); [] for a Linen module of another kind than
    `Classifier`, whose places have no names."""
    places, before = [], set()

    def watch(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "reached":
            places.append(Endpoint(args[0], args[1][1:], frozenset(before)))
        before.update(context.module.path[:1])
        return call(*args, **kwargs)

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with nn.intercept_methods(watch):
        variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    names = {name for collection in variables.values() for name in collection}  # dropout has a name and no variables
    return [dataclasses.replace(place, layers=place.layers & names) for place in places]


def logits_and_features(model: nn.Module, variables: Any, images: jax.Array, name: str) -> tuple[jax.Array, jax.Array]:
    """Computes logits (B, classes) and the activations at an endpoint, averaged over space, (B, D); not in training.

    Args:
      images: (B, H, W, C) float32, normalized.
      name: of an endpoint.
    """
    outputs: Any = model.apply(variables, images, train=False, features=(name,))
    logits, features = outputs[0], outputs[1][name]
    return logits, features.mean(axis=tuple(range(1, features.ndim - 1)))
