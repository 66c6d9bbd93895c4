"""Activations: the bend between two linear layers, without which a deep network would be one linear layer.

Each works entry by entry and gives x's shape and floating type. They are `jax.nn`'s, whose gradients are right where a
naive formula's aren't; what is fixed here is the meaning of each name.
"""

import difflib
from collections.abc import Callable

import jax


def relu(x: jax.Array) -> jax.Array:
    """max(x, 0), with gradient 0 at 0. Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann
    machines".

    >>> relu(jax.numpy.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    return jax.nn.relu(x)


def leaky_relu(x: jax.Array, negative_slope: float = 0.01) -> jax.Array:
    """x if x >= 0, else negative_slope * x. Source: Maas, Hannun & Ng 2013, "Rectifier nonlinearities improve neural
    network acoustic models", section 2.

    >>> print(leaky_relu(jax.numpy.array([-1.0, 2.0])))
    [-0.01  2.  ]
    """
    return jax.nn.leaky_relu(x, negative_slope)


def elu(x: jax.Array, alpha: float = 1.0) -> jax.Array:
    """x if x > 0, else alpha (exp(x) - 1). Source: Clevert, Unterthiner & Hochreiter 2015, "Fast and accurate deep
    network learning by exponential linear units", eq. 15.

    >>> elu(jax.numpy.array([-100.0, 2.0])).tolist()
    [-1.0, 2.0]
    """
    return jax.nn.elu(x, alpha)


def selu(x: jax.Array) -> jax.Array:
    """lambda * elu(x, alpha) with lambda = 1.0507..., alpha = 1.6732..., for which mean 0 and variance 1 are a fixed
    point. Source: Klambauer et al. 2017, "Self-normalizing neural networks", eq. 2.

    >>> print(f"{selu(jax.numpy.array(1.0)):.4f} {selu(jax.numpy.array(-100.0)):.4f}")
    1.0507 -1.7581
    """
    return jax.nn.selu(x)


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, exactly. Source: Hendrycks & Gimpel 2016, "Gaussian error linear units",
    section 2.

    >>> print(f"{gelu(jax.numpy.array(1.0)):.6f}")
    0.841345
    """
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2, an approximation of `gelu`. Source: Hendrycks & Gimpel 2016,
    "Gaussian error linear units", section 2.

    >>> print(f"{gelu_tanh(jax.numpy.array(1.0)):.6f}")
    0.841192
    """
    return jax.nn.gelu(x, approximate=True)


def silu(x: jax.Array) -> jax.Array:
    """x sigmoid(x), also called swish. Source: Elfwing, Uchibe & Doya 2017, "Sigmoid-weighted linear units for neural
    network function approximation in reinforcement learning", section 2.

    >>> print(f"{silu(jax.numpy.array(1.0)):.6f}")
    0.731059
    """
    return jax.nn.silu(x)


def mish(x: jax.Array) -> jax.Array:
    """x tanh(softplus(x)). Source: Misra 2019, "Mish: a self regularized non-monotonic activation function", section 2.

    >>> print(f"{mish(jax.numpy.array(1.0)):.6f}")
    0.865098
    """
    return jax.nn.mish(x)


def hard_swish(x: jax.Array) -> jax.Array:
    """x min(max(x + 3, 0), 6) / 6, silu from straight lines. Source: Howard et al. 2019, "Searching for MobileNetV3",
    section 5.2.

    >>> hard_swish(jax.numpy.array([-4.0, 0.0, 3.0])).tolist()
    [-0.0, 0.0, 3.0]
    """
    return jax.nn.hard_swish(x)


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x)). Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating
    errors", eq. 2.

    >>> sigmoid(jax.numpy.array([-100.0, 0.0, 100.0])).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    return jax.nn.sigmoid(x)


def tanh(x: jax.Array) -> jax.Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)). Source: LeCun et al. 1998, "Efficient BackProp", section 4.4.

    >>> tanh(jax.numpy.array([-100.0, 0.0, 100.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return jax.nn.tanh(x)


def softplus(x: jax.Array) -> jax.Array:
    """log(1 + exp(x)), a smooth relu. Source: Dugas et al. 2000, "Incorporating second-order functional knowledge for
    better option pricing", section 3.

    >>> softplus(jax.numpy.array([-200.0, 200.0])).tolist()
    [0.0, 200.0]
    """
    return jax.nn.softplus(x)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "mish": mish,
    "hard_swish": hard_swish,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softplus": softplus,
}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Looks an activation up by its name.

    Raises:
      ValueError: if there is none, with the nearest name.

    >>> activation("relu")(jax.numpy.array([-1.0, 1.0])).tolist()
    [0.0, 1.0]
    >>> activation("leeky_relu")
    Traceback (most recent call last):
    ValueError: activation: there is no "leeky_relu"; did you mean "leaky_relu"?
    """
    if name not in ACTIVATIONS:
        near = difflib.get_close_matches(name, ACTIVATIONS, n=1, cutoff=0)[0]
        raise ValueError(f'activation: there is no "{name}"; did you mean "{near}"?')
    return ACTIVATIONS[name]
