"""How weights start: random, and of the one variance that neither blows the signal up nor lets it fade with depth.

Every function gives an initializer `(key, shape, dtype) -> weights`. The last axis of a shape counts the outputs, the
one before it the inputs (of a group), all others are taps: fan_in = taps * inputs, fan_out = taps * outputs.

| name | variance | for |
|---|---|---|
| `lecun_normal`, `lecun_uniform` | 1 / fan_in | no activation, selu |
| `xavier_normal`, `xavier_uniform` (or `glorot_...`) | 2 / (fan_in + fan_out) | sigmoid, tanh |
| `he_normal`, `he_uniform` (or `kaiming_...`) | 2 / fan_in | relu and its relatives |
| `orthogonal` | rows or columns of length 1 | very deep or recurrent networks |
| `normal` | stddev² | heads of detectors and the oldest networks |
| `constant`, `zeros` | 0 | biases |

The normal ones are normal: JAX's of the same names cut the tails off at two deviations and widen the rest to the same
variance. The uniform ones reach from -sqrt(3 variance) to sqrt(3 variance), which has that variance.
"""

import difflib
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

Fan = Literal["fan_in", "fan_out"]
_draw = jax.nn.initializers.variance_scaling


def lecun_normal() -> Initializer:
    """Normal of variance 1 / fan_in: a sum of fan_in terms of variance 1 keeps variance 1.

    Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.6.

    >>> w = lecun_normal()(jax.random.key(0), (100, 300))
    >>> print(f"{w.std():.2f}")  # sqrt(1 / 100)
    0.10
    """
    return _draw(1.0, "fan_in", "normal")


def lecun_uniform() -> Initializer:
    """Uniform in ±sqrt(3 / fan_in), whose variance is 1 / fan_in. Source: as `lecun_normal`.

    >>> w = lecun_uniform()(jax.random.key(0), (100, 300))
    >>> print(f"{w.std():.2f} {abs(w).max():.2f}")  # sqrt(1 / 100), sqrt(3 / 100)
    0.10 0.17
    """
    return _draw(1.0, "fan_in", "uniform")


def xavier_normal() -> Initializer:
    """Normal of variance 2 / (fan_in + fan_out): between what the forward and the backward pass ask for.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 12.

    >>> w = xavier_normal()(jax.random.key(0), (100, 300))
    >>> print(f"{w.std():.2f}")  # sqrt(2 / 400)
    0.07
    """
    return _draw(1.0, "fan_avg", "normal")


def xavier_uniform() -> Initializer:
    """Uniform in ±sqrt(6 / (fan_in + fan_out)), whose variance is 2 / (fan_in + fan_out).

    Source: Glorot & Bengio 2010, eq. 16.

    >>> w = xavier_uniform()(jax.random.key(0), (100, 300))
    >>> print(f"{w.std():.2f} {abs(w).max():.2f}")  # sqrt(2 / 400), sqrt(6 / 400)
    0.07 0.12
    """
    return _draw(1.0, "fan_avg", "uniform")


def he_normal(fan: Fan = "fan_in", *, negative_slope: float = 0.0) -> Initializer:
    """Normal of variance 2 / ((1 + a²) fan), for a rectifier of slope a (0 for relu) on its negative half.

    Relu halves the second moment of a symmetric input, hence the 2. "fan_in" keeps the forward signal's scale,
    "fan_out" the gradient's.

    Source: He et al. 2015, "Delving deep into rectifiers", eqs. 10, 14 and 15.

    >>> w = he_normal()(jax.random.key(0), (100, 300))
    >>> print(f"{w.std():.2f}")  # sqrt(2 / 100)
    0.14
    """
    return _draw(2.0 / (1 + negative_slope**2), fan, "normal")


def he_uniform(fan: Fan = "fan_in", *, negative_slope: float = 0.0) -> Initializer:
    """Uniform in ±sqrt(6 / ((1 + a²) fan)), whose variance is that of `he_normal`.

    Source: He et al. 2015, "Delving deep into rectifiers", eqs. 10, 14 and 15.

    >>> w = he_uniform()(jax.random.key(0), (100, 300))
    >>> print(f"{w.std():.2f} {abs(w).max():.2f}")  # sqrt(2 / 100), sqrt(6 / 100)
    0.14 0.24
    """
    return _draw(2.0 / (1 + negative_slope**2), fan, "uniform")


def orthogonal(scale: float = 1.0) -> Initializer:
    """A random (taps * inputs, outputs) matrix whose columns (or rows, if they are fewer) are orthonormal, times scale.

    Source: Saxe, McClelland & Ganguli 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", section 3.

    >>> w = orthogonal()(jax.random.key(0), (3, 3, 2, 4)).reshape(-1, 4)
    >>> print(abs(w.T @ w).round(3))
    [[1. 0. 0. 0.]
     [0. 1. 0. 0.]
     [0. 0. 1. 0.]
     [0. 0. 0. 1.]]
    """
    draw = jax.nn.initializers.orthogonal(scale)

    def create(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        low = jnp.finfo(dtype).bits < 32  # no matrix is decomposed in these types
        return draw(key, shape, jnp.float32 if low else dtype, out_sharding).astype(dtype)

    return create


def constant(value: float) -> Initializer:
    """Every entry is `value`.

    >>> constant(0.5)(jax.random.key(0), (3,)).tolist()
    [0.5, 0.5, 0.5]
    """
    return jax.nn.initializers.constant(value)


def zeros() -> Initializer:
    """Every entry is 0.

    >>> zeros()(jax.random.key(0), (3,)).tolist()
    [0.0, 0.0, 0.0]
    """
    return jax.nn.initializers.zeros


def normal(stddev: float = 0.01) -> Initializer:
    """Normal of mean 0 and deviation `stddev`, whatever the shape. AlexNet's weights start with 0.01.

    Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 5.

    >>> print(f"{normal(0.1)(jax.random.key(0), (100, 300)).std():.1f}")
    0.1
    """
    return jax.nn.initializers.normal(stddev)


INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "xavier_normal": xavier_normal,
    "xavier_uniform": xavier_uniform,
    "glorot_normal": xavier_normal,
    "glorot_uniform": xavier_uniform,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "kaiming_normal": he_normal,
    "kaiming_uniform": he_uniform,
    "orthogonal": orthogonal,
    "constant": constant,
    "zeros": zeros,
    "normal": normal,
}


def initializer(name: str, **arguments: Any) -> Initializer:
    """Looks an initializer up by its name; `arguments` are those of the function of that name.

    Raises:
      ValueError: if there is none, with the nearest name.

    >>> initializer("constant", value=2.0)(jax.random.key(0), (2,)).tolist()
    [2.0, 2.0]
    >>> initializer("he_norm")
    Traceback (most recent call last):
    ValueError: initializer: there is no "he_norm"; did you mean "he_normal"?
    """
    if name not in INITIALIZERS:
        near = difflib.get_close_matches(name, INITIALIZERS, n=1, cutoff=0)[0]
        raise ValueError(f'initializer: there is no "{name}"; did you mean "{near}"?')
    return INITIALIZERS[name](**arguments)


def initializer_for(activation: str | None) -> Initializer:
    """The initializer for a layer that this activation follows; None stands for no activation.

        relu, elu, gelu, gelu_tanh, silu, mish, hard_swish, softplus    he_normal
        leaky_relu (of slope 0.01)                                      he_normal(negative_slope=0.01)
        sigmoid, tanh                                                   xavier_uniform
        selu, None                                                      lecun_normal

    The smooth relatives of relu have no derivation of their own and take relu's. Sources: as the initializers'; for
    selu Klambauer et al. 2017, "Self-normalizing neural networks", section 2.

    Raises:
      ValueError: if there is no such activation, with the nearest name.

    >>> w = initializer_for("relu")(jax.random.key(0), (100, 300))
    >>> print(f"{w.std():.2f}")  # sqrt(2 / 100)
    0.14
    """
    if activation in (None, "selu"):
        return lecun_normal()
    if activation == "leaky_relu":
        return he_normal(negative_slope=0.01)
    if activation in ("sigmoid", "tanh"):
        return xavier_uniform()
    rectifiers = ("relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "hard_swish", "softplus")
    if activation in rectifiers:
        return he_normal()
    names = (*rectifiers, "leaky_relu", "sigmoid", "tanh", "selu")
    near = difflib.get_close_matches(str(activation), names, n=1, cutoff=0)[0]
    raise ValueError(f'initializer_for: there is no activation "{activation}"; did you mean "{near}"?')
