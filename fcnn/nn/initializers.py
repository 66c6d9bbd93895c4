"""Initializers by name: how weights start, random and of the one variance that keeps a signal's size with depth.

An initializer is a function `(key, shape, dtype) -> weights`. The last axis of a shape counts the outputs, the one
before it the inputs (of a group), all others are taps: fan_in = taps * inputs, fan_out = taps * outputs.

| name | variance | for |
|---|---|---|
| `lecun_normal`, `lecun_uniform` | 1 / fan_in | no activation, selu |
| `xavier_normal`, `xavier_uniform` (or `glorot_...`) | 2 / (fan_in + fan_out) | sigmoid, tanh |
| `he_normal`, `he_uniform` (or `kaiming_...`) | 2 / fan_in | relu and its relatives |
| `orthogonal` | rows or columns of length 1 | very deep or recurrent networks |
| `normal` | 0.0001 | AlexNet |

The normal ones are normal: JAX's of the same names are cut off at two deviations and widened to the same variance. The
uniform ones reach from -sqrt(3 variance) to sqrt(3 variance), which has that variance.

LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.6; Glorot & Bengio 2010, "Understanding the difficulty
of training deep feedforward neural networks", eqs. 12 and 16; He et al. 2015, "Delving deep into rectifiers", eqs. 10,
14 and 15; Saxe, McClelland & Ganguli 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
networks", section 3; Krizhevsky, Sutskever & Hinton 2012, section 5.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, variance_scaling

from fcnn.nn.activations import activation
from fcnn.utils.errors import UserError, unknown


def orthogonal(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
    """Draws a (taps * inputs, outputs) matrix whose columns, or rows if they are fewer, are orthonormal.

    JAX's `orthogonal()`, for float16 and bfloat16 too, in which no matrix can be decomposed.

    >>> w = orthogonal(jax.random.key(0), (3, 3, 2, 4)).reshape(-1, 4)
    >>> print(abs(w.T @ w).round(3))
    [[1. 0. 0. 0.]
     [0. 1. 0. 0.]
     [0. 0. 1. 0.]
     [0. 0. 0. 1.]]
    """
    low = jnp.finfo(dtype).bits < 32
    return jax.nn.initializers.orthogonal()(key, shape, jnp.float32 if low else dtype, out_sharding).astype(dtype)


INITIALIZERS: dict[str, Initializer] = {
    "lecun_normal": variance_scaling(1.0, "fan_in", "normal"),
    "lecun_uniform": variance_scaling(1.0, "fan_in", "uniform"),
    "xavier_normal": variance_scaling(1.0, "fan_avg", "normal"),
    "xavier_uniform": variance_scaling(1.0, "fan_avg", "uniform"),
    "he_normal": variance_scaling(2.0, "fan_in", "normal"),
    "he_uniform": variance_scaling(2.0, "fan_in", "uniform"),
    "orthogonal": orthogonal,
    "normal": jax.nn.initializers.normal(0.01),
}
"""Functions `(key, shape, dtype) -> weights`, by the names that `--model.kernel-init` takes."""
INITIALIZERS |= {name.replace("xavier", "glorot"): INITIALIZERS[name] for name in ("xavier_normal", "xavier_uniform")}
INITIALIZERS |= {name.replace("he", "kaiming"): INITIALIZERS[name] for name in ("he_normal", "he_uniform")}


def initializer(name: str) -> Initializer:
    """Returns the initializer of this name.

    Raises:
      UserError: there is none; the nearest name is in the message.

    >>> w = initializer("he_normal")(jax.random.key(0), (100, 300), jnp.float32)
    >>> print(f"{w.std():.2f}")  # sqrt(2 / 100)
    0.14
    """
    if name not in INITIALIZERS:
        raise UserError(unknown("initializer", name, INITIALIZERS))
    return INITIALIZERS[name]


def initializer_for(name: str | None) -> Initializer:
    """Returns the initializer for a layer that the activation `name` follows; None means no activation.

        relu, relu6, elu, gelu, gelu_tanh, silu, mish, hard_swish, softplus    he_normal
        leaky_relu (of slope 0.01)                                             variance 2 / ((1 + 0.01²) fan_in)
        sigmoid, hard_sigmoid, tanh                                            xavier_uniform
        selu, None                                                             lecun_normal

    The smooth relatives of relu have no derivation of their own and take relu's. For selu see Klambauer et al. 2017,
    "Self-normalizing neural networks", section 2.

    Raises:
      UserError: there is no such activation; the nearest name is in the message.

    >>> w = initializer_for("tanh")(jax.random.key(0), (100, 300), jnp.float32)
    >>> print(f"{w.std():.2f} {abs(w).max():.2f}")  # sqrt(2 / 400), sqrt(6 / 400)
    0.07 0.12
    """
    if name in (None, "selu"):
        return INITIALIZERS["lecun_normal"]
    activation(name)
    if name == "leaky_relu":
        return variance_scaling(2.0 / (1 + 0.01**2), "fan_in", "normal")
    return INITIALIZERS["xavier_uniform" if name in ("sigmoid", "hard_sigmoid", "tanh") else "he_normal"]
