"""The activations by name, with the arguments that each name means. All are JAX's own."""

import functools
from collections.abc import Callable

import jax

from fcnn.utils.errors import UserError, unknown

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "mish": jax.nn.mish,
    "hard_swish": jax.nn.hard_swish,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "tanh": jax.nn.tanh,
    "softplus": jax.nn.softplus,
}
"""Functions of arrays, by the names that `--model.activation` takes."""


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Returns the activation of this name.

    Raises:
      UserError: there is none; the nearest name is in the message.

    >>> activation("relu")(jax.numpy.array([-1.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    if name not in ACTIVATIONS:
        raise UserError(unknown("activation", name, ACTIVATIONS))
    return ACTIVATIONS[name]
