"""Convolution, normalization, shortcut, activation: what networks are made of; one call in evaluation on a CPU."""

from collections.abc import Callable
from typing import Any, get_args

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp

from fcnn.nn.activations import ACTIVATIONS
from fcnn.nn.conv import Conv
from fcnn.nn.dense import Dense
from fcnn.nn.fast_conv import default_precision
from fcnn.nn.norm import BatchNorm
from fcnn.nn.onednn.convolution import fused_convolve
from fcnn.nn.onednn.plan import Activation

Layer = Callable[..., Any]
"""Makes a layer, such as `functools.partial(Conv, dtype=jnp.bfloat16)`."""

FUSED: dict[Any, Activation] = {ACTIVATIONS[name]: name for name in get_args(Activation)}
"""The activations that can become part of a convolution."""


class ConvNormAct(nn.Module):
    """Convolution, normalization, activation: (B, H, W, C) -> (B, H', W', features).

    >>> layer = ConvNormAct(Conv, lambda **options: BatchNorm(True, **options), jax.nn.relu, 8, 3)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 5, 5, 3)))
    >>> y.shape, sorted(variables["params"])
    ((1, 3, 3, 8), ['conv', 'norm'])
    """

    conv: Layer
    norm: Layer
    act: Callable[[jax.Array], jax.Array]
    features: int
    kernel_size: int | tuple[int, int]
    strides: int = 1
    padding: Any = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = self.conv(self.features, self.kernel_size, self.strides, self.padding, name="conv")
        return conv_norm_act(x, conv, self.norm(name="norm"), self.act)


def conv_norm_act(
    x: jax.Array,
    conv: nn.Conv | nn.Dense,
    norm: Callable[[jax.Array], jax.Array] | None,
    act: Callable[[jax.Array], jax.Array] | None,
    shortcut: jax.Array | None = None,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Computes act(drop(norm(conv(x))) + shortcut), without what is None.

    In a program for a CPU that is one call of oneDNN where the images are float32, the norm is a batch norm by running
    statistics or None, and the activation one of FUSED; another activation comes after it. Bias, scale, addition and
    activation then cost no pass of their own over memory.

    Args:
      x: (B, H, W, C).
      conv, norm: layers of the module that calls.
      shortcut: of the result's shape.
      drop: stochastic depth in training; nothing is fused with it.

    Returns:
      (B, H', W', features).

    >>> conv_norm_act(jnp.full((1, 2, 2, 1), -3.0), Conv(1, 1).bind({"params": {"kernel": jnp.ones((1, 1, 1, 1)),
    ...     "bias": jnp.ones(1)}}), None, jax.nn.relu, jnp.full((1, 2, 2, 1), 4.0)).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    y = conv(x)
    if shortcut is None:
        z = norm_act(y, norm, act)
    else:
        z = norm_act(y, norm, None)
        z = (z if drop is None else drop(z)) + shortcut
        z = z if act is None else act(z)
    fused = _fused(x, y, conv, norm, act, shortcut) if drop is None else None
    return z if fused is None else fused  # what isn't returned is no part of the program


def norm_act(
    x: jax.Array, norm: Callable[[jax.Array], jax.Array] | None, act: Callable[[jax.Array], jax.Array] | None
) -> jax.Array:
    """Computes act(norm(x)), without what is None; batch norm and ReLU share one gradient.

    >>> norm_act(jnp.array([-1.0, 2.0]), None, jax.nn.relu).tolist()
    [0.0, 2.0]
    """
    if isinstance(norm, BatchNorm) and act is jax.nn.relu:
        return norm(x, relu=True)
    x = x if norm is None else norm(x)
    return x if act is None else act(x)


def _fused(x: jax.Array, y: jax.Array, conv: Any, norm: Any, act: Any, shortcut: jax.Array | None) -> jax.Array | None:
    """The same in one operation; None if that can't be, or if there is nothing but a convolution."""
    kind = FUSED.get(act)
    # A type to compute in casts x first. Operation by operation (no tracer), it would all be computed twice.
    apart = y.dtype != x.dtype or not isinstance(y, jax.core.Tracer) or conv.is_initializing()
    if apart or not isinstance(conv, Conv | Dense) or (norm is None and kind is None):
        return None
    params = conv.variables["params"]
    kernel, bias = params["kernel"], params.get("bias", jnp.zeros(y.shape[-1:]))
    geometry = conv.geometry(x, kernel)
    if geometry is None:
        return None
    scale, kernel = None, kernel[None, None] if kernel.ndim == 2 else kernel
    if norm is not None:
        folded = norm.fold(bias) if isinstance(norm, BatchNorm) else None
        if folded is None:
            return None
        scale, bias = folded
    # Not folded into the kernel: with that, ResNet-50 took 250 ms for 32 images of 64 x 64, and 232 so.
    z = fused_convolve(
        x,
        kernel,
        scale,
        bias,
        shortcut if act is None or kind else None,
        activation=kind,
        geometry=geometry,
        precision=default_precision(),
    )
    if act is None or kind:
        return z
    return act(z if shortcut is None else z + shortcut)
