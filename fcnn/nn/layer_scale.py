"""Layer scale: a residual branch that begins almost at zero."""

import flax.linen as nn
import jax

from fcnn.nn.geometry import along_channels


class LayerScale(nn.Module):
    """Multiplies each channel by a parameter, `gamma`: (B, H, W, C) -> the same.

    Touvron, Cord, Sablayrolles, Synnaeve & Jegou 2021, "Going deeper with image transformers", arXiv:2103.17239,
    section 2.

    >>> LayerScale(0.5).init_with_output(jax.random.key(0), jax.numpy.ones((1, 1, 1, 2)))[0].tolist()
    [[[[0.5, 0.5]]]]
    """

    init: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gamma = self.param("gamma", nn.initializers.constant(self.init), x.shape[-1:])
        return x * along_channels(gamma.astype(x.dtype), x.ndim)
