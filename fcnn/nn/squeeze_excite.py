"""Squeeze-and-excitation: channels that are weighted by what all channels have in the whole image."""

from collections.abc import Callable

import flax.linen as nn
import jax

from fcnn.nn.conv_norm_act import Layer
from fcnn.nn.pool import global_avg_pool


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a gate from 0 to 1: (B, H, W, C) -> the same.

        gates = gate(fc2(act(fc1(mean over positions))))

    Fields:
      conv: makes the two 1x1 convolutions, `fc1` and `fc2`, which have biases.
      act: between them.
      features: C, before a width multiplier in `conv`.
      reduced: outputs of `fc1`, as well.
      gate: sigmoid, or hard sigmoid (MobileNet v3).

    Hu, Shen, Albanie, Sun & Wu 2017, "Squeeze-and-excitation networks", arXiv:1709.01507, section 3.

    >>> from fcnn.nn import Conv
    >>> layer = SqueezeExcite(Conv, jax.nn.relu, features=8, reduced=2)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jax.numpy.ones((1, 4, 4, 8)))
    >>> y.shape, variables["params"]["fc1"]["kernel"].shape
    ((1, 4, 4, 8), (1, 1, 8, 2))
    """

    conv: Layer
    act: Callable[[jax.Array], jax.Array]
    features: int
    reduced: int
    gate: Callable[[jax.Array], jax.Array] = jax.nn.sigmoid

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = global_avg_pool(x)[:, None, None]
        y = self.act(self.conv(self.reduced, 1, use_bias=True, name="fc1")(y))
        return x * self.gate(self.conv(self.features, 1, use_bias=True, name="fc2")(y))
