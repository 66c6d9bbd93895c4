"""What Inception v3, v4 and Inception-ResNet v2 share: convolutions and pools side by side, written as tables."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcnn.nn import Layer, avg_pool, max_pool

Chain = tuple[tuple[Any, ...], ...]
"""Layers one after the other: convolutions (name, channels, kernel, stride, padding), where stride and padding may be
missing; ("...ab", channels), a 1x3 and a 3x1 side by side; ("max_pool",), 3x3 of stride 2; ("avg_pool",), 3x3."""

Chains = tuple[Chain, ...]
"""What has the same input, side by side."""

ROW: tuple[Any, ...] = (1, 7), 1, (0, 3)
COLUMN: tuple[Any, ...] = (7, 1), 1, (3, 0)
"""Kernel, stride and padding of the convolutions that a 7x7 is taken apart into."""


def side_by_side(x: jax.Array, chains: Chains, conv_norm_act: Layer, padded_mean: bool = False) -> jax.Array:
    """Concatenates the channels of all chains' results.

    Args:
      x: (B, H, W, C).
      conv_norm_act: makes the convolutions, as submodules of the module that calls.
      padded_mean: whether average pools count the zeros around the image.
    """
    branches = []
    for chain in chains:
        y = x
        for name, *shape in chain:
            if name == "max_pool":
                y = max_pool(y, 3, stride=2)
            elif name == "avg_pool":
                y = avg_pool(y, 3, stride=1, padding=1, count_include_pad=padded_mean)
            elif name.endswith("ab"):  # figure 7 of Inception v3
                row = conv_norm_act(shape[0], (1, 3), 1, (0, 1), name=name[:-1])(y)
                column = conv_norm_act(shape[0], (3, 1), 1, (1, 0), name=name[:-2] + "b")(y)
                y = jnp.concatenate([row, column], axis=-1)
            else:
                y = conv_norm_act(*shape, name=name)(y)
        branches.append(y)
    return jnp.concatenate(branches, axis=-1)


class Inception(nn.Module):
    """Chains side by side, as a layer."""

    conv_norm_act: Layer
    chains: Chains
    padded_mean: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return side_by_side(x, self.chains, self.conv_norm_act, self.padded_mean)
